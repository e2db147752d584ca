"""The embedded service's lanes: threads that run what is rung for, side by side."""

import threading

import pytest

from modelpress.problem import RequestInvalid
from store import workers
from store.rings import INSPECT, LocalRings, queue_name
from worker.classify import Ended, classify
from worker.devices import choose, compose
from worker.lanes import Lanes
from worker.sandbox import probe

from .conftest import World
from .waiting import until

LONG = """
if json.loads((job_dir / "job.json").read_text())["kind"] == "compress":
    signalled = threading.Event()
    import signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    print("up", flush=True)
    time.sleep(600)
end(kind="inspect")
"""


def test_a_long_job_holds_up_no_inspection_and_is_given_back_at_the_end(world: World) -> None:
    rings = LocalRings()
    world.database.rings = rings
    device, inspect = world.place(LONG, worker_id="device"), world.place(LONG, worker_id="inspect")
    inspect.lane = INSPECT
    lanes = Lanes([device, inspect], rings)
    lanes.start()
    try:
        long = world.job()
        until(lambda: world.row(long).log_bytes)
        quick = world.job(lane=INSPECT, kind="inspect", spec={"kind": "inspect"})
        until(lambda: world.row(quick).state == "succeeded")
        assert world.row(long).state == "running"
        with world.database.read() as session:
            assert workers.live(session, world.settings) == {"modelpress.cpu": 1, "modelpress.inspect": 1}
    finally:
        lanes.stop()
    assert (world.row(long).state, world.row(long).attempt) == ("queued", 0)
    with world.database.read() as session:
        assert workers.live(session, world.settings) == {}


def test_a_lane_outlives_what_goes_wrong(world: World) -> None:
    rings = LocalRings()
    world.database.rings = rings
    place = world.place("end()")
    lanes = Lanes([place], rings)
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    lanes.start()
    try:
        threading.Event().wait(0.3)
        with world.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO jobs")
        job_id = world.job()
        until(lambda: world.row(job_id).state == "succeeded")
    finally:
        lanes.stop()


def test_queues_are_named_after_who_may_take_from_them(world: World) -> None:
    assert world.place("").queue == queue_name("device", "cpu") == "modelpress.cpu"


# -- devices ------------------------------------------------------------------------------------------------

GPUS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-bbbb-3"]


@pytest.mark.parametrize(
    "device, chosen",
    [
        ("cpu", [("cpu", "")]),
        ("cuda", [("cuda", "GPU-aaaa-1")]),
        ("cuda:1", [("cuda", "GPU-bbbb-2")]),
        ("cuda:all", [("cuda", gpu) for gpu in GPUS]),
        ("GPU-bbbb-3", [("cuda", "GPU-bbbb-3")]),
    ],
)
def test_a_device_becomes_a_class_and_the_uuid_of_a_gpu(device: str, chosen: list[tuple[str, str]]) -> None:
    assert choose(device, GPUS) == chosen


@pytest.mark.parametrize("device", ["cuda:3", "GPU-cccc", "tpu", "cuda:-1", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(RequestInvalid, match="no device"):
        choose(device, GPUS)


def test_asking_for_a_gpu_where_there_is_none_says_so() -> None:
    with pytest.raises(RequestInvalid, match="shows no GPU"):
        choose("cuda", [])


@pytest.mark.parametrize(
    "mask, left",
    [
        ("1,0", ["GPU-bbbb-2", "GPU-aaaa-1"]),
        ("GPU-aaaa", ["GPU-aaaa-1"]),
        ("GPU-bbbb", []),  # two devices begin like this
        ("0,7,1", ["GPU-aaaa-1"]),  # CUDA stops at the first that is not there
        ("", []),
        ("-1", []),
        ("MIG-12", ["MIG-12"]),
    ],
)
def test_our_own_mask_is_composed_with_the_machine_s_devices(mask: str, left: list[str]) -> None:
    assert compose(mask.split(","), GPUS) == left


# -- judging ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ended, action, code",
    [
        (Ended(-9, is_oom_killed=True), "fail", "out_of_memory"),
        (Ended(-9), "requeue", "worker_lost"),
        (Ended(-11, is_oom_killed=True), "fail", "crashed"),
        (Ended(71), "fail", "out_of_memory"),
        (Ended(75), "requeue", "worker_lost"),
        (Ended(-9, stopped="memory", is_oom_killed=True), "fail", "out_of_memory"),
        (Ended(0), "fail", "no_result"),
        (Ended(-15, stopped="drained"), "give_back", "preempted"),
    ],
)
def test_the_kernel_s_choice_of_a_victim_is_told_from_a_crash(ended: Ended, action: str, code: str) -> None:
    verdict = classify(ended)
    assert verdict.problem is not None
    assert (verdict.action, verdict.problem.code) == (action, code)


def test_the_sandbox_of_this_machine_is_asked_from_a_child() -> None:
    assert probe().level in {"full", "limits"}
