"""The full stack, by the commands of the compose file: API, keeper and Celery workers on Postgres, Redis and S3."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from demo import train
from modelpress import Client
from modelpress.steps import FilterPruning, Int8Quantization, Layers, Recover, SvdFactorisation
from store.database import Database
from store.tables import Job as JobRow
from store.tables import JobAttempt, Worker
from tests.servers import S3Server

from .conftest import Start, run, until
from .test_embedded import is_ready

RECIPE = [
    FilterPruning(macs=0.5),
    SvdFactorisation(ratio=0.25, layers=Layers(names=["fc1"])),
    Recover(epochs=2),
    Int8Quantization(),
]
FAST = {
    "lease_seconds": 3,
    "beat_seconds": 0.5,
    "poll_seconds": 0.2,
    "re_ring_seconds": 0.5,
    "worker_seen_seconds": 8,
    "retry_backoff_seconds": 0,
}


@dataclass
class Stack:
    client: Client
    database: Database
    workers: psutil.Process


@pytest.fixture
def stack(
    tmp_path: Path, postgres_url: str, postgres_owner_url: str, redis_url: str, s3_server: S3Server, start: Start
) -> Iterator[Stack]:
    settings = {
        "data_dir": tmp_path / "data",
        "database_url": postgres_url,
        "owner_database_url": postgres_owner_url,
        "redis_url": redis_url,
        "s3_endpoint": s3_server.endpoint,
        "s3_public_endpoint": s3_server.endpoint,
        "s3_bucket": s3_server.bucket,
        "s3_access_key": s3_server.access_key,
        "s3_secret_key": s3_server.secret_key,
        **FAST,
    }
    assert run("migrate", **settings).returncode == 0
    key = run("keys", "create", **settings).stdout.strip()
    port = free_port()
    start("api", "--port", str(port), **settings)
    start("keeper", **settings)
    workers = start("worker", "--device", "cpu", **settings)
    database = Database(postgres_url, pool_size=2)
    url = f"http://127.0.0.1:{port}"
    until(lambda: is_ready(url) and len(live(database)) == 2)
    assert run("doctor", **settings).returncode == 0
    with Client(base_url=url, api_key=key) as client:
        yield Stack(client, database, psutil.Process(workers.pid))
    database.close()


@pytest.mark.timeout(900)
def test_the_demo_job_runs_and_a_killed_worker_changes_no_byte_of_it(stack: Stack, tmp_path: Path) -> None:
    files = train.make(tmp_path)
    preparation = {"scale": train.SCALE}
    model = stack.client.models.upload(files.model)
    learn = stack.client.datasets.upload(files.train, labels="labels", preparation=preparation)
    held_out = stack.client.datasets.upload(files.held_out, labels="labels", preparation=preparation)
    asked = {"train": learn, "eval": held_out, "task": {"type": "classification"}}

    job = stack.client.jobs.create(model, RECIPE, **asked)
    job.wait()
    assert job.result is not None
    (best,) = [each for each in job.result.candidates if each.name == job.result.best]
    figures = {figure.metric: figure.value for figure in best.measurements}
    before = {figure.metric: figure.value for figure in job.result.candidates[0].measurements}
    assert figures["bytes"] < before["bytes"] / 4
    made = digests(job.artifacts.download(tmp_path / "first"))
    assert {"model.onnx", "report.json", "report.html", "recipe.yaml"} <= set(made)

    again = stack.client.jobs.create(model, RECIPE, **asked)
    until(lambda: checkpoint(stack.database, again.id))
    supervisor(stack, again.id).kill()
    again.wait()
    with stack.database.read() as session:
        attempts = select(JobAttempt).where(JobAttempt.job_id == again.id).order_by(JobAttempt.attempt)
        assert [row.outcome for row in session.scalars(attempts)] == ["queued", "succeeded"]
    assert digests(again.artifacts.download(tmp_path / "second"))["model.onnx"] == made["model.onnx"]


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def live(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Worker.queue)))


def checkpoint(database: Database, job_id: str) -> str | None:
    with database.read() as session:
        return session.get_one(JobRow, job_id).checkpoint_sha256


def supervisor(stack: Stack, job_id: str) -> psutil.Process:
    """The process whose child computes the job."""
    (child,) = [
        process
        for process in stack.workers.children(recursive=True)
        if "core" in process.cmdline() and any("jobs" in part for part in process.cmdline())
    ]
    parent = child.parent()
    assert parent is not None
    return parent


def digests(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
