"""Jobs run to their end: what is filed of a good one, and how each way of ending badly is named."""

import os
import threading
from pathlib import Path

import psutil
import pytest

from store import leases
from store.claims import claim
from store.contents import blob_key, keep
from store.problems import WorkerLost
from store.tables import JobInput
from worker.supervise import run_next_job

from .conftest import PROJECT, World
from .waiting import until

GOOD = """
say(type="step.started", step=0, technique="prune.filters")
say(type="progress", phase="compressing", fraction=0.5, message="half")
say(type="metric", subject="original", metric="top1", value=0.9)
print("working")
(job_dir / "outputs" / "model.onnx").write_bytes(b"smaller")
end(
    artifacts=[{"name": "model.onnx", "bytes": 0, "sha256": "", "media_type": "application/onnx"}],
    candidates=[
        {"name": "original", "step": -1, "measurements": [{"subject": "original", "metric": "top1", "value": 0.9}]}
    ],
)
"""


def test_a_good_job_leaves_events_log_artifacts_and_measurements(either_world: World) -> None:
    world = either_world
    job_id = world.job()
    assert run_next_job(world.place(GOOD)) == job_id
    job = world.row(job_id)
    assert (job.state, job.attempt, job.progress["fraction"]) == ("succeeded", 1, 0.5)
    assert [event["type"] for event in world.events(job_id)] == ["state", "state", "step.started", "metric", "state"]
    assert world.log(job_id) == "working\n"
    assert world.artifacts(job_id) == {"model.onnx": b"smaller"}
    assert job.result is not None
    assert job.result["artifacts"][0]["bytes"] == 7


def test_nothing_to_do_is_none(world: World) -> None:
    assert run_next_job(world.place(GOOD)) is None


def test_nothing_is_left_on_the_workers_disk(world: World) -> None:
    place = world.place(GOOD)
    world.job()
    run_next_job(place)
    assert list(place.jobs_dir.iterdir()) == []


def test_the_child_sees_its_folder_and_no_environment_of_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPRESS_S3_SECRET_KEY", "s3cret")
    job_id = world.job()
    run_next_job(world.place("print(sorted(os.environ)); print(sorted(p.name for p in job_dir.iterdir())); end()"))
    names, folder = world.log(job_id).splitlines()
    assert "SECRET" not in names
    assert "PATH" in names
    assert folder == "['cache', 'checkpoints', 'inputs', 'job.json', 'outputs', 'tmp']"


@pytest.mark.parametrize(
    "script, code",
    [
        pytest.param("end(1, code='model_invalid', title='t', status=422)", "model_invalid", id="its-own-problem"),
        pytest.param("import ctypes; ctypes.string_at(0)", "crashed", id="segmentation-fault"),
        pytest.param("os.abort()", "crashed", id="abort"),
        pytest.param("sys.exit(3)", "no_result", id="exit-without-a-word"),
        pytest.param("(job_dir / 'result.json').write_text('{')", "no_result", id="half-a-result"),
        pytest.param("(job_dir / 'result.json').write_text('[' * 100_000)", "no_result", id="a-result-too-deep"),
        pytest.param("(job_dir / 'result.json').mkdir()", "no_result", id="a-folder-for-a-result"),
        pytest.param("import socket; socket.create_connection(('127.0.0.1', 9))", "no_result", id="connects-out"),
        pytest.param("open('/proc/%d/environ' % os.getppid()).read()", "no_result", id="reads-its-supervisor"),
        pytest.param("Path('/tmp/modelpress-escape').write_text('x')", "no_result", id="writes-outside"),
        pytest.param("while True: os.fork()", "no_result", id="forks-without-end"),
    ],
)
def test_each_bad_end_is_a_coded_problem(world: World, script: str, code: str) -> None:
    job_id = world.job()
    run_next_job(world.place(script))
    assert world.code(job_id) == code
    assert not Path("/tmp/modelpress-escape").exists()


ALLOCATE = "kept = []\nwhile True: kept.append(bytearray(8 << 20)); time.sleep(0.01)"


def test_a_child_above_its_memory_is_out_of_memory_and_no_crash(world: World) -> None:
    job_id = world.job(budget={"memory_bytes": 192 << 20})
    # Not closed in, so that no limit of its own stops it: the supervisor must.
    run_next_job(world.place(f"import time\n{ALLOCATE}", closed=False))
    assert world.code(job_id) == "out_of_memory"


def test_a_closed_in_child_meets_the_limit_itself(world: World) -> None:
    job_id = world.job(budget={"memory_bytes": 192 << 20})
    script = """
    kept = []
    try:
        while True:
            kept.append(bytearray(8 << 20))
    except MemoryError:
        kept.clear()
        end(1, code="out_of_memory", title="t", status=422)
    """
    run_next_job(world.place(script))
    assert world.code(job_id) == "out_of_memory"


def test_threads_without_end_are_stopped(world: World) -> None:
    is_root = os.geteuid() == 0
    job_id = world.job(budget={"no_progress_seconds": 60.0 if is_root else 2.0})
    script = """
    while True:
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        except RuntimeError:
            time.sleep(60)
    """
    run_next_job(world.place(script))
    # Root is exempt from the process's own limit, so the supervisor counts; others meet the limit and stand still.
    assert world.code(job_id) == ("too_many_threads" if is_root else "no_progress")


def test_time_to_run_is_limited(world: World) -> None:
    job_id = world.job(budget={"run_seconds": 0.5})
    run_next_job(world.place("while True: print('busy'); time.sleep(0.05)"))
    assert world.code(job_id) == "out_of_time"


def test_silence_is_limited(world: World) -> None:
    job_id = world.job(budget={"no_progress_seconds": 0.5})
    run_next_job(world.place("time.sleep(60)"))
    assert world.code(job_id) == "no_progress"


def test_output_is_a_sign_of_life(world: World) -> None:
    job_id = world.job(budget={"no_progress_seconds": 0.6})
    run_next_job(world.place("for _ in range(8): print('busy'); time.sleep(0.15)\nend()"))
    assert world.row(job_id).state == "succeeded"


def test_cancel_ends_a_child_that_ignores_sigterm_and_all_it_started(world: World) -> None:
    job_id = world.job()
    script = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    print(subprocess.Popen([sys.executable, "-c", stubborn]).pid, flush=True)
    time.sleep(600)
    """
    place = world.place(script, closed=False)
    thread = threading.Thread(target=run_next_job, args=(place,))
    thread.start()
    until(lambda: world.row(job_id).log_bytes)
    world.ask_to_cancel(job_id)
    thread.join()
    assert world.states(job_id) == ["queued", "running", "cancelling", "cancelled"]
    grandchild = int(world.log(job_id))
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_a_draining_worker_gives_the_job_back_with_what_it_reached(world: World) -> None:
    job_id = world.job()
    place = world.place(
        """
        import signal
        def stop(*_):
            (job_dir / "checkpoints" / "step-1" / "state").write_text("reached")
            sys.exit(143)
        signal.signal(signal.SIGTERM, stop)
        (job_dir / "checkpoints" / "step-1").mkdir()
        print("up", flush=True)
        time.sleep(600)
        """
    )
    thread = threading.Thread(target=run_next_job, args=(place,))
    thread.start()
    until(lambda: world.row(job_id).log_bytes)
    place.draining.set()
    thread.join()
    job = world.row(job_id)
    assert (job.state, job.attempt) == ("queued", 0)
    run_next_job(world.place("print((job_dir / 'checkpoints' / 'step-1' / 'state').read_text()); end()"))
    assert world.log(job_id) == "up\nreached\n"
    assert world.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]


def test_a_child_killed_from_outside_is_tried_again_from_its_checkpoint(world: World) -> None:
    job_id = world.job()
    script = """
    import signal
    done = job_dir / "checkpoints" / "step-0"
    if done.exists():
        end(warnings=[done.read_text()])
    done.write_text("one step done")
    say(type="step.finished", step=0, technique="recover")
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_next_job(world.place(script)) == job_id
    assert world.row(job_id).state == "queued"
    assert run_next_job(world.place(script)) == job_id
    job = world.row(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert job.result is not None
    assert job.result["warnings"] == ["one step done"]


def test_attempts_are_bounded(world: World) -> None:
    job_id = world.job(max_attempts=2)
    place = world.place("import signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert [run_next_job(place), run_next_job(place), run_next_job(place)] == [job_id, job_id, None]
    assert world.code(job_id) == "worker_lost"


@pytest.mark.parametrize("then", ["", "say(type='warning', code='late', message='')"])
def test_a_worker_whose_lease_is_lost_stops_its_child_and_writes_nothing(world: World, then: str) -> None:
    job_id = world.job()
    place = world.place(f"print('up', flush=True)\ntime.sleep(1)\n{then}\ntime.sleep(600)")
    thread = threading.Thread(target=run_next_job, args=(place,))
    thread.start()
    until(lambda: world.row(job_id).log_bytes)
    with world.database.write() as session:
        # As after an expiry: the row went back to the queue and somebody else took it.
        token = world.row(job_id).lease_token
        assert token is not None
        leases.requeue(session, world.settings, token, WorkerLost().problem())
        assert claim(session, world.settings, "worker-2", "device") is not None
    thread.join()
    job = world.row(job_id)
    assert (job.state, job.attempt, job.worker_id) == ("running", 2, "worker-2")
    assert world.events(job_id, "warning") == []


def test_a_missing_input_goes_back_to_the_queue(world: World) -> None:
    source = world.folder / "model.onnx"
    source.write_bytes(b"model")
    content = keep(world.database, world.blobs, PROJECT, source)
    job_id = world.job(max_attempts=1)
    with world.database.write() as session:
        session.add(JobInput(job_id=job_id, name="model.onnx", sha256=content.sha256, size_bytes=5))
    world.blobs.delete(blob_key(PROJECT, content.sha256))
    run_next_job(world.place(GOOD))
    assert world.code(job_id) == "unavailable"


def test_inputs_lie_in_the_folder_and_are_the_childs_own(world: World) -> None:
    source = world.folder / "weights.bin"
    source.write_bytes(b"weights")
    content = keep(world.database, world.blobs, PROJECT, source)
    job_id = world.job()
    with world.database.write() as session:
        session.add(JobInput(job_id=job_id, name="data/weights.bin", sha256=content.sha256, size_bytes=7))
    run_next_job(
        world.place("f = job_dir / 'inputs/data/weights.bin'; print(f.read_text()); f.write_text('changed'); end()")
    )
    assert world.log(job_id) == "weights\n"
    assert world.blob(content.sha256) == b"weights"
