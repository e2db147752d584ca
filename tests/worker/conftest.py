"""A worker's place on a real database and blob folder, jobs as rows, and small scripts instead of the computation."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store import states
from store.blobs import open_blobs
from store.cache import BlobCache
from store.database import Database, now
from store.ids import new_id
from store.rings import DEVICE
from store.settings import Settings
from store.tables import Artifact, Blob, Job, JobEvent, Project
from worker.place import Place

PROJECT = "prj_00000000000000000000000001"

CLOSED = """
import json, os, sys, threading, time
from pathlib import Path
from core.sandbox import close_in

job_dir = Path(sys.argv[1])
close_in(job_dir)
"""

SPEAKING = """
def say(**event):
    with open(job_dir / "events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")

def end(exit_code=0, /, **result):
    (job_dir / "result.json").write_text(json.dumps(result))
    sys.exit(exit_code)
"""


class World:
    """A database with one project, a blob folder, and workers to be had."""

    def __init__(self, folder: Path, database_url: str, **settings: Any) -> None:
        fast = {
            "lease_seconds": 1.5, "beat_seconds": 0.4, "poll_seconds": 0.1, "grace_seconds": 0.3, "drain_seconds": 5.0,
            "retry_backoff_seconds": 0.0, "re_ring_seconds": 0.3, "worker_seen_seconds": 3.0,
        }  # fmt: skip
        self.folder = folder
        self.settings = Settings(**{"data_dir": folder / "data", "database_url": database_url, **fast, **settings})
        self.database = Database(self.settings.database_url, pool_size=10)
        self.blobs = open_blobs(self.settings)
        with self.database.write() as session:
            session.add(
                Project(
                    id=PROJECT, name="p", created_at=now(session),
                    max_running_jobs=None, max_queued_jobs=None, max_stored_bytes=None,
                )
            )  # fmt: skip

    def job(self, *, budget: dict[str, Any] | None = None, **values: Any) -> str:
        """Queue a job; its id."""
        with self.database.write() as session:
            moment = now(session)
            job = Job(
                id=new_id("job"), project_id=PROJECT, kind="compress", lane=DEVICE, name=None, state="queued",
                priority=0, contract=1, data={},
                spec={"kind": "compress", "budget": {"no_progress_seconds": 20.0, **(budget or {})}},
                tags={}, device=["cpu"], device_class="cpu", max_attempts=3, run_after=moment,
                run_seconds_left=(budget or {}).get("run_seconds", 60.0), progress={}, created_at=moment,
                queued_at=moment,
            )  # fmt: skip
            for name, value in values.items():
                setattr(job, name, value)
            states.begin(session, job)
            return job.id

    def place(self, script: str, *, closed: bool = True, worker_id: str = "worker-1") -> Place:
        """A worker that computes `script`; closed in, that has `job_dir`, `say(**event)` and `end(code, **result)`."""
        path = self.folder / f"{new_id('tmp')}.py"
        path.write_text((CLOSED + SPEAKING if closed else "") + textwrap.dedent(script))
        return Place(
            settings=self.settings,
            database=self.database,
            blobs=self.blobs,
            cache=BlobCache(self.settings.data_dir / "cache", self.blobs, self.settings.cache_bytes),
            worker_id=worker_id,
            lane=DEVICE,
            command=lambda job_dir: [sys.executable, "-P", str(path), str(job_dir)],
        )

    def row(self, job_id: str) -> Job:
        with self.database.read() as session:
            return session.get_one(Job, job_id)

    def code(self, job_id: str) -> str:
        """Of the problem that the job ended with."""
        job = self.row(job_id)
        assert job.state == "failed"
        assert job.error is not None
        return job.error["code"]

    def events(self, job_id: str, kind: str = "") -> list[dict[str, Any]]:
        with self.database.read() as session:
            rows = session.query(JobEvent).filter_by(job_id=job_id).order_by(JobEvent.seq)
            return [row.data for row in rows if kind in ("", row.type)]

    def states(self, job_id: str) -> list[str]:
        return [event["state"] for event in self.events(job_id, "state")]

    def artifacts(self, job_id: str) -> dict[str, bytes]:
        """Their content by name; all names differ."""
        with self.database.read() as session:
            rows = list(session.query(Artifact).filter_by(job_id=job_id))
        assert len({row.name for row in rows}) == len(rows)
        return {row.name: self.blob(row.sha256) for row in rows}

    def blob(self, sha256: str) -> bytes:
        with self.database.read() as session:
            assert session.get(Blob, (PROJECT, sha256)) is not None
        return b"".join(self.blobs.read(f"projects/{PROJECT}/blobs/{sha256[:2]}/{sha256}"))

    def log(self, job_id: str) -> str:
        sha256 = self.row(job_id).log_sha256
        return self.blob(sha256).decode() if sha256 else ""

    def ask_to_cancel(self, job_id: str) -> None:
        with self.database.write() as session:
            states.move(session, "cancelling", Job.id == job_id, cancel_requested_at=now(session))


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[World] = []

    def make(database_url: str, **settings: Any) -> World:
        made.append(World(tmp_path, database_url, **settings))
        return made[-1]

    yield make
    for world in made:
        world.database.close()


@pytest.fixture
def world(make_world: MakeWorld, sqlite_url: str) -> World:
    return make_world(sqlite_url)


@pytest.fixture
def either_world(make_world: MakeWorld, database_url: str) -> World:
    """On SQLite and on PostgreSQL."""
    return make_world(database_url)
