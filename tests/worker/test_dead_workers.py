"""Workers that die, freeze or come twice: a job has one effect, whatever they do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from store import leases, logs
from store.database import now
from store.tables import Job, JobAttempt
from worker.folder import sweep
from worker.supervise import run_next_job

from .conftest import World
from .waiting import until

ROOT = Path(__file__).parents[2]

# The first attempt hangs once it has made a step; the next goes on from there and ends.
IN_THE_MIDDLE = """
done = job_dir / "checkpoints" / "step-1"
print(os.getpid(), flush=True)
if done.exists():
    (job_dir / "outputs" / "model.onnx").write_text("made from " + done.read_text())
    end(artifacts=[{"name": "model.onnx", "bytes": 0, "sha256": ""}])
done.write_text("the first step")
say(type="step.finished", step=0, technique="recover")
time.sleep(600)
"""


def start(world: World, script: str, worker_id: str) -> subprocess.Popen[bytes]:
    place = world.place(script)
    path = place.command(Path("job"))[2]
    command = [sys.executable, "-m", "tests.worker.claimant", world.settings.model_dump_json(), path, worker_id]
    return subprocess.Popen(command, cwd=ROOT)


def reap(world: World) -> list[str]:
    with world.database.write() as session:
        return leases.reap_expired(session, world.settings)


def is_dead(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def pid_in_log(world: World, job_id: str) -> int:
    with world.database.read() as session:
        return int(b"".join(piece.data for piece in logs.read(session, job_id, 0)).split()[0])


def test_a_killed_worker_s_job_runs_again_from_its_checkpoint_with_one_effect(either_world: World) -> None:
    world = either_world
    job_id = world.job()
    with start(world, IN_THE_MIDDLE, "first") as worker:
        until(lambda: world.row(job_id).checkpoint_sha256)
        child = psutil.Process(pid_in_log(world, job_id))
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
    until(lambda: is_dead(child))
    until(lambda: reap(world) == [job_id])
    assert reap(world) == []
    place = world.place(IN_THE_MIDDLE, worker_id="second")
    sweep(place.jobs_dir)
    assert list(place.jobs_dir.iterdir()) == []
    assert run_next_job(place) == job_id
    assert run_next_job(place) is None
    assert world.row(job_id).attempt == 2
    assert world.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert world.artifacts(job_id) == {"model.onnx": b"made from the first step"}


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped supervisor's child is looked for in /proc")
def test_a_frozen_worker_loses_its_job_and_its_commit_is_refused(either_world: World) -> None:
    world = either_world
    job_id = world.job()
    script = """
    print(os.getpid(), flush=True)
    while not (job_dir / "tmp" / "go").exists():
        time.sleep(0.02)
    (job_dir / "outputs" / "model.onnx").write_text("late")
    end(artifacts=[{"name": "model.onnx", "bytes": 0, "sha256": ""}])
    """
    quick = """
    (job_dir / "outputs" / "model.onnx").write_text("in time")
    end(artifacts=[{"name": "model.onnx", "bytes": 0, "sha256": ""}])
    """
    with start(world, script, "first") as worker:
        until(lambda: world.row(job_id).log_bytes)
        child = psutil.Process(pid_in_log(world, job_id))
        token = world.row(job_id).lease_token
        os.kill(worker.pid, signal.SIGSTOP)
        until(lambda: reap(world) == [job_id])
        assert run_next_job(world.place(quick, worker_id="second")) == job_id
        # Its child finishes while it is frozen, so that it wakes with a result in hand.
        (world.settings.data_dir / "jobs" / str(token) / "tmp" / "go").touch()
        until(lambda: is_dead(child))
        os.kill(worker.pid, signal.SIGCONT)
        assert worker.wait(timeout=30) == 0
    assert world.states(job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert world.artifacts(job_id) == {"model.onnx": b"in time"}


def test_two_workers_and_many_rings_run_a_job_once(either_world: World) -> None:
    world = either_world
    job_id = world.job()
    script = "print('ran', flush=True); time.sleep(0.5); end()"
    workers = [start(world, script, f"worker-{number}") for number in range(2)]
    for worker in workers:
        assert worker.wait(timeout=60) == 0
    with world.database.read() as session:
        assert session.query(JobAttempt).filter_by(job_id=job_id).count() == 1
    assert world.log(job_id) == "ran\n"


def test_a_cancelled_job_whose_worker_died_is_cancelled_by_the_reaper(world: World) -> None:
    job_id = world.job()
    with start(world, IN_THE_MIDDLE, "first") as worker:
        until(lambda: world.row(job_id).log_bytes)
        worker.kill()
    world.ask_to_cancel(job_id)
    until(lambda: reap(world) == [job_id])
    assert world.row(job_id).state == "cancelled"


def test_a_database_away_for_a_while_ends_no_job(world: World) -> None:
    """The tables are renamed away and back: the supervisor sees errors, its child nothing."""
    job_id = world.job()
    with start(world, "print('up', flush=True); time.sleep(2.5); end()", "first") as worker:
        until(lambda: world.row(job_id).log_bytes)
        with world.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
        time.sleep(1.0)
        with world.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO jobs")
        assert worker.wait(timeout=30) == 0
    assert world.states(job_id) == ["queued", "running", "succeeded"]


def test_leases_are_judged_by_the_clock_of_the_database(either_world: World) -> None:
    world = either_world
    job_id = world.job()
    with world.database.write() as session:
        moment = now(session)
        session.query(Job).filter_by(id=job_id).update({"run_after": moment})
    assert abs((world.row(job_id).run_after - moment).total_seconds()) < 1e-3
