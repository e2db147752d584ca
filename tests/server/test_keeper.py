"""The keeper: what it rings, reaps and removes, and that there is one."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from server.keeper import Keeper
from store import claims, states, workers
from store.blobs import open_blobs
from store.contents import keep
from store.database import Database, now
from store.ids import new_id
from store.rings import DEVICE
from store.settings import Settings
from store.tables import Blob, Job, Project

from .conftest import until


class Heard:
    """Rings that are counted."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def ring(self, queue: str) -> bool:
        self.queues.append(queue)
        return True

    def close(self) -> None: ...


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        lease_seconds=1.5,
        beat_seconds=0.4,
        re_ring_seconds=0.2,
        blob_grace_hours=0.0,
        retry_backoff_seconds=0.0,
    )  # pyright: ignore[reportCallIssue] -- the other fields have defaults


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = Database(settings.database_url, Heard(), pool_size=6)
    with opened.write() as session:
        session.add(Project(id="prj_1", name="p", created_at=now(session)))
    yield opened
    opened.close()


@pytest.fixture
def keeper(settings: Settings, database: Database) -> Keeper:
    return Keeper(settings, database, open_blobs(settings))


def add_job(database: Database) -> str:
    with database.write() as session:
        moment = now(session)
        job = Job(
            id=new_id("job"),
            project_id="prj_1",
            kind="compress",
            lane=DEVICE,
            state="queued",
            priority=0,
            contract=1,
            spec={},
            data={},
            tags={},
            device=["cpu"],
            device_class="cpu",
            max_attempts=3,
            run_after=moment,
            run_seconds_left=60.0,
            progress={},
            created_at=moment,
        )
        states.begin(session, job)
        return job.id


def state(database: Database, job_id: str) -> str:
    with database.read() as session:
        return session.get_one(Job, job_id).state


def test_it_rings_as_often_as_there_are_jobs_and_workers(database: Database, keeper: Keeper) -> None:
    for _ in range(3):
        add_job(database)
    heard = database.rings
    assert isinstance(heard, Heard)
    heard.queues.clear()
    assert keeper.ring() == {"modelpress.cpu": 0}
    with database.write() as session:
        workers.seen(session, "one", "modelpress.cpu")
        workers.seen(session, "two", "modelpress.cpu")
        workers.seen(session, "other", "modelpress.inspect")
    assert keeper.ring() == {"modelpress.cpu": 2}
    assert heard.queues == ["modelpress.cpu"] * 2


def test_it_waits_a_lease_after_its_start_and_then_reaps(
    settings: Settings, database: Database, keeper: Keeper
) -> None:
    job_id = add_job(database)
    with database.write() as session:
        assert claims.claim(session, settings, "dead", DEVICE, ("cpu",)) is not None
        expired = now(session) - timedelta(hours=1)
        session.execute(update(Job).values(lease_expires_at=expired))
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        # The database may just have come back, so an expired lease says nothing yet.
        until(lambda: not is_alone(database))
        assert state(database, job_id) == "running"
        until(lambda: state(database, job_id) == "queued")
    finally:
        stop.set()
        thread.join()


def is_alone(database: Database) -> bool:
    with database.alone("keeper") as is_elected:
        return is_elected


def test_a_second_keeper_stands_by(settings: Settings, database: Database, keeper: Keeper) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        until(lambda: not is_alone(database))
    finally:
        stop.set()
        thread.join()
    assert is_alone(database)


def test_two_reapers_take_a_job_once(settings: Settings, database: Database, keeper: Keeper) -> None:
    job_id = add_job(database)
    with database.write() as session:
        claims.claim(session, settings, "dead", DEVICE, ("cpu",))
        session.execute(update(Job).values(lease_expires_at=now(session) - timedelta(hours=1)))
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(keeper.reap())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[], [], [], [job_id]]


def test_it_removes_blobs_that_nothing_refers_to(
    settings: Settings, database: Database, keeper: Keeper, tmp_path: Path
) -> None:
    blobs = open_blobs(settings)
    path = tmp_path / "file"
    path.write_bytes(b"unwanted")
    unwanted = keep(database, blobs, "prj_1", path)
    path.write_bytes(b"checkpoint")
    wanted = keep(database, blobs, "prj_1", path)
    job_id = add_job(database)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(checkpoint_sha256=wanted.sha256))
    keeper.tidy()
    with database.read() as session:
        assert list(session.scalars(select(Blob.sha256))) == [wanted.sha256]
    assert blobs.size(f"projects/prj_1/blobs/{unwanted.sha256[:2]}/{unwanted.sha256}") is None
