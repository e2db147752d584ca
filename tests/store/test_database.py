"""The database's door: many writers, locks, rings after the commit."""

import threading
from pathlib import Path

import pytest

from store import projects
from store.database import Database, ring_after_commit
from store.rings import LocalRings, queue_name
from store.tables import Project


class Recorder(LocalRings):
    def __init__(self) -> None:
        super().__init__()
        self.rung: list[str] = []

    def ring(self, queue: str) -> bool:
        self.rung.append(queue)
        return super().ring(queue)


def test_sixteen_writers_at_once_all_get_their_turn(database_url: str):
    database, failed = Database(database_url, pool_size=20), []

    def write(number: int) -> None:
        try:
            for i in range(5):
                with database.write() as session:
                    session.query(Project).count()  # read first: a deferred transaction would fail to upgrade
                    projects.create(session, f"{number}-{i}")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert (failed, session.query(Project).count()) == ([], 80)
    database.close()


def test_queues_are_rung_after_the_commit_once_each_and_not_after_a_rollback(database_url: str):
    rings = Recorder()
    database = Database(database_url, rings)
    with database.write() as session:
        ring_after_commit(session, "a")
        ring_after_commit(session, "b")
        ring_after_commit(session, "a")
        assert rings.rung == []
    assert rings.rung == ["a", "b"]
    with pytest.raises(ZeroDivisionError), database.write() as session:
        ring_after_commit(session, "c")
        raise ZeroDivisionError
    assert rings.rung == ["a", "b"]
    database.close()


def test_only_one_is_alone_at_a_time(database_url: str):
    first, second = Database(database_url), Database(database_url)
    with first.alone("keeper") as held:
        assert held
        with second.alone("keeper") as also:
            assert not also
        with second.alone("other") as free:
            assert free
    with second.alone("keeper") as held:
        assert held
    first.close()
    second.close()


def test_a_ring_wakes_its_listener_and_no_other():
    rings = LocalRings()
    rings.ring("a")
    assert rings.wait("a", 10)
    assert not rings.wait("a", 0)
    rings.ring("a")
    assert not rings.wait("b", 0)


def test_queues_are_named_after_who_takes_from_them():
    assert queue_name("inspect", "cpu") == "modelpress.inspect"
    assert queue_name("device", "cuda") == "modelpress.cuda"


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and longer than a header of one would be" * 10)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(Exception, match="not a database"), database.read() as session:
        session.query(Project).count()
    assert path.read_text().startswith("not a database")
    database.close()
