"""Celery as the engine: real workers on real Redis, Postgres and S3, with scripts for the computation."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from server.keeper import Keeper
from store import workers
from store.broker import CeleryRings
from store.rings import DEVICE, queue_name
from store.tables import JobAttempt
from tests.servers import S3Server

from .conftest import MakeWorld, World
from .waiting import until

ROOT = Path(__file__).parents[2]
QUEUE = queue_name(DEVICE, "cpu")
QUICK = "print('ran', flush=True); end()"


@pytest.fixture
def world(make_world: MakeWorld, postgres_url: str, redis_url: str, s3_server: S3Server) -> World:
    made = make_world(
        postgres_url,
        redis_url=redis_url,
        s3_endpoint=s3_server.endpoint,
        s3_bucket=s3_server.bucket,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
    )
    made.database.rings = CeleryRings(redis_url)
    return made


def variables(world: World) -> dict[str, str]:
    settings: dict[str, Any] = world.settings.model_dump(exclude_none=True, exclude_defaults=True)
    settings["s3_secret_key"] = world.settings.s3_secret_key.get_secret_value() if world.settings.s3_secret_key else ""
    return {**os.environ, **{f"MODELPRESS_{name.upper()}": str(value) for name, value in settings.items()}}


@contextmanager
def celery(world: World, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, once it listens; told to stop at the end."""
    path = world.place(script).command(Path("job"))[2]
    command = [sys.executable, "-m", "tests.worker.celery_worker", path]
    before = count_live(world)
    with subprocess.Popen(command, cwd=ROOT, env=variables(world)) as process:
        try:
            until(lambda: count_live(world) > before, seconds=60)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)


def count_live(world: World) -> int:
    with world.database.read() as session:
        return workers.live(session, world.settings).get(QUEUE, 0)


def ended(world: World, *job_ids: str) -> bool:
    return all(world.row(job_id).state == "succeeded" for job_id in job_ids)


def test_many_rings_and_two_workers_run_one_job_once_and_one_ring_runs_many(world: World) -> None:
    with celery(world, QUICK), celery(world, QUICK):
        one = world.job()
        for _ in range(10):
            world.database.rings.ring(QUEUE)
        until(lambda: ended(world, one))
        with redis.Redis.from_url(str(world.settings.redis_url)) as broker:
            until(lambda: not broker.llen(f"modelpress:{QUEUE}"))
            # Three jobs that nobody rang for, and one ring: each worker that ends one rings for the next.
            rings, world.database.rings = world.database.rings, CeleryRings("redis://127.0.0.1:1")
            many = [world.job() for _ in range(3)]
            rings.ring(QUEUE)
            until(lambda: ended(world, *many))
    for job_id in (one, *many):
        with world.database.read() as session:
            assert session.query(JobAttempt).filter_by(job_id=job_id).count() == 1
        assert world.log(job_id) == "ran\n"


def test_with_celery_stopped_the_queue_stands_still_and_a_flushed_broker_loses_nothing(world: World) -> None:
    keeper = Keeper(world.settings, world.database, world.blobs)
    with celery(world, QUICK):
        first = world.job()
        until(lambda: ended(world, first))
    assert count_live(world) == 0
    waiting = [world.job() for _ in range(3)]
    assert keeper.ring() == {QUEUE: 0}
    with redis.Redis.from_url(str(world.settings.redis_url)) as broker:
        assert broker.llen(f"modelpress:{QUEUE}") == 3
        broker.flushall()
    assert {world.row(job_id).state for job_id in waiting} == {"queued"}
    with celery(world, QUICK):
        assert keeper.ring() == {QUEUE: 1}
        until(lambda: ended(world, *waiting))


def test_a_worker_told_to_stop_gives_its_job_back_uncounted(world: World) -> None:
    job_id = world.job()
    with celery(world, "print('up', flush=True); time.sleep(600)") as process:
        world.database.rings.ring(QUEUE)
        until(lambda: world.row(job_id).log_bytes)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    job = world.row(job_id)
    assert (job.state, job.attempt) == ("queued", 0)
    assert count_live(world) == 0


def test_a_killed_supervisor_is_replaced_and_its_job_runs_again(world: World) -> None:
    keeper = Keeper(world.settings, world.database, world.blobs)
    script = """
    done = job_dir / "checkpoints" / "step-1"
    if done.exists():
        end(warnings=["went on"])
    done.write_text("1")
    say(type="step.finished", step=0, technique="recover")
    time.sleep(600)
    """
    with celery(world, script) as process:
        job_id = world.job()
        until(lambda: world.row(job_id).checkpoint_sha256)
        (pool,) = psutil.Process(process.pid).children()
        pool.kill()
        until(lambda: keeper.reap() == [job_id])
        until(lambda: keeper.ring() is not None and ended(world, job_id))
    job = world.row(job_id)
    assert job.attempt == 2
    assert job.result is not None
    assert job.result["warnings"] == ["went on"]


def test_workers_on_a_local_blob_folder_are_refused(tmp_path: Path, redis_url: str) -> None:
    given = {"MODELPRESS_REDIS_URL": redis_url, "MODELPRESS_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "server", "worker"]
    answer = subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True)
    assert answer.returncode == 1
    assert "local blob folder" in answer.stderr
    assert "Traceback" not in answer.stderr
