"""Leases: what a worker may still write, and what happens to jobs that nobody holds any more."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelpress.events import WarningEvent
from modelpress.result import Candidate, Measurement, Result
from store import contents, events, jobs, leases, logs, states
from store.database import now
from store.leases import LeaseLost, Made
from store.settings import Settings
from store.tables import Artifact, Job, JobAttempt, JobEvent, MeasurementRow
from tests.store.conftest import TROUBLE, Store

FENCED: dict[str, Callable[[Session, Settings, str], object]] = {
    "look": lambda session, settings, token: leases.look(session, token),
    "heartbeat": leases.heartbeat,
    "record": lambda session, settings, token: events.record(
        session, settings, token, [WarningEvent(code="a", message="b")]
    ),
    "progress": lambda session, settings, token: events.record(session, settings, token, []),
    "append": lambda session, settings, token: logs.append(session, settings, token, b"log"),
    "finish": lambda session, settings, token: leases.finish(session, token, Result()),
    "fail": lambda session, settings, token: leases.fail(session, token, TROUBLE),
    "cancelled": lambda session, settings, token: leases.cancelled(session, token),
    "requeue": lambda session, settings, token: leases.requeue(session, settings, token, TROUBLE),
    "held": lambda session, settings, token: leases.held(session, token),
}


def expire(store: Store, job_id: str) -> None:
    with store.database.write() as session:
        session.get_one(Job, job_id).lease_expires_at = now(session) - timedelta(seconds=1)


def reap(store: Store) -> list[str]:
    with store.database.write() as session:
        return leases.reap_expired(session, store.settings)


@pytest.mark.parametrize("write", FENCED.values(), ids=FENCED)
def test_a_worker_that_lost_its_lease_can_change_nothing(store: Store, write: Callable[..., object]):
    first = store.claimed()
    expire(store, first.job_id)
    assert reap(store) == [first.job_id]
    second = store.claim(worker="worker-2")
    assert second is not None
    before = store.row(first.job_id)
    with pytest.raises(LeaseLost), store.database.write() as session:
        write(session, store.settings, first.token)
    after = store.row(first.job_id)
    assert (after.state, after.lease_token, after.last_seq, after.log_bytes) == (
        "running",
        second.token,
        before.last_seq,
        before.log_bytes,
    )


def test_the_second_attempt_wins_and_the_first_ones_result_is_refused(store: Store):
    first = store.claimed()
    expire(store, first.job_id)
    reap(store)
    second = store.claim()
    assert second is not None
    with store.database.write() as session:
        leases.finish(session, second.token, Result(best="second"))
    with pytest.raises(LeaseLost), store.database.write() as session:
        leases.finish(session, first.token, Result(best="first"))
    result = store.row(first.job_id).result
    assert result is not None
    assert result["best"] == "second"
    with store.database.read() as session:
        attempts = session.scalars(select(JobAttempt).order_by(JobAttempt.attempt)).all()
        assert [(each.attempt, each.outcome) for each in attempts] == [(1, "queued"), (2, "succeeded")]


def test_a_result_comes_with_its_artifacts_and_measurements_or_not_at_all(store: Store):
    claimed = store.claimed()
    measured = [Measurement(subject="s", metric="top1", value=0.9, low=0.8, high=0.95, unit="fraction", role="test")]
    result = Result(candidates=[Candidate(name="c", step=2, measurements=measured)])
    unknown = Made("model.onnx", "f" * 64, 3)
    with pytest.raises(Exception, match=r"(?i)foreign key"), store.database.write() as session:
        leases.finish(session, claimed.token, result, [unknown])
    assert store.row(claimed.job_id).state == "running"
    path = store.settings.data_dir.parent / "made"
    path.write_bytes(b"abc")
    kept = contents.keep(store.database, store.blobs, store.project.id, path)
    with store.database.write() as session:
        leases.finish(session, claimed.token, result, [Made("model.onnx", kept.sha256, kept.size_bytes)])
    with store.database.read() as session:
        [row] = session.scalars(select(MeasurementRow)).all()
        assert (row.step, row.metric, row.value, row.low, row.high, row.role) == (2, "top1", 0.9, 0.8, 0.95, "test")
        assert session.scalars(select(Artifact.name)).all() == ["model.onnx"]


def test_a_heartbeat_keeps_the_job_from_the_reaper(store: Store):
    claimed = store.claimed()
    expire(store, claimed.job_id)
    with store.database.write() as session:
        beat = leases.heartbeat(session, store.settings, claimed.token)
    assert not beat.cancel_requested
    assert beat.deadline == claimed.deadline
    assert reap(store) == []


def test_a_lost_job_is_tried_again_as_often_as_it_may_and_then_fails(store: Store):
    job_id = store.job()
    for attempt in range(1, store.settings.max_attempts + 1):
        claimed = store.claim()
        assert claimed is not None
        assert claimed.attempt == attempt
        expire(store, job_id)
        reap(store)
    row = store.row(job_id)
    assert row.state == "failed"
    assert row.error is not None
    assert (row.error["code"], row.error["category"]) == ("worker_lost", "infra")
    assert store.claim() is None


def test_two_reapers_at_once_requeue_a_job_once(store: Store):
    claimed = store.claimed()
    expire(store, claimed.job_id)
    reaped: list[str] = []
    threads = [threading.Thread(target=lambda: reaped.extend(reap(store))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reaped == [claimed.job_id]
    assert store.row(claimed.job_id).state == "queued"


def test_a_drained_job_goes_back_at_once_and_its_attempt_does_not_count(store: Store):
    store.settings.retry_backoff_seconds = 3600.0
    claimed = store.claimed()
    with store.database.write() as session:
        assert leases.requeue(session, store.settings, claimed.token, TROUBLE, counts_attempt=False) == "queued"
    again = store.claim()
    assert again is not None
    assert again.attempt == 1


def test_a_job_that_failed_once_waits_out_its_back_off(store: Store):
    store.settings.retry_backoff_seconds = 3600.0
    claimed = store.claimed()
    with store.database.write() as session:
        assert leases.requeue(session, store.settings, claimed.token, TROUBLE) == "queued"
    assert store.claim() is None


def test_running_time_counts_over_all_attempts(store: Store):
    claimed = store.claimed(budget={"run_seconds": 100})
    with store.database.write() as session:
        session.get_one(Job, claimed.job_id).deadline_at = now(session) + timedelta(seconds=40)
        leases.requeue(session, store.settings, claimed.token, TROUBLE, counts_attempt=False)
    again = store.claim()
    assert again is not None
    assert 35 < again.seconds_left <= 40


def test_the_next_attempt_starts_from_the_checkpoint_and_a_finished_job_has_none(store: Store):
    claimed = store.claimed()
    path = store.settings.data_dir.parent / "checkpoint"
    path.write_bytes(b"state")
    kept = contents.keep(store.database, store.blobs, store.project.id, path)
    with store.database.write() as session:
        leases.save_checkpoint(session, claimed.token, kept)
        leases.requeue(session, store.settings, claimed.token, TROUBLE)
    again = store.claim()
    assert again is not None
    assert again.checkpoint is not None
    assert b"".join(store.blobs.read(again.checkpoint.key)) == b"state"
    with store.database.write() as session:
        leases.finish(session, again.token, Result())
    assert store.row(claimed.job_id).checkpoint_sha256 is None


@pytest.mark.parametrize("end", ["requeue", "reap"])
def test_a_job_that_was_to_be_cancelled_never_runs_again(store: Store, end: str):
    claimed = store.claimed()
    with store.database.write() as session:
        assert jobs.cancel(store.scope(session), claimed.job_id).state == "cancelling"
    if end == "requeue":
        with store.database.write() as session:
            leases.requeue(session, store.settings, claimed.token, TROUBLE)
    else:
        expire(store, claimed.job_id)
        reap(store)
    assert store.row(claimed.job_id).state == "cancelled"


def test_a_job_that_waited_too_long_for_a_device_fails_for_that_reason(store: Store):
    job_id = store.job(budget={"queue_seconds": 60})
    with store.database.write() as session:
        assert jobs.time_out_queued(session) == []
        session.get_one(Job, job_id).queue_deadline_at = now(session) - timedelta(seconds=1)
        session.flush()
        assert jobs.time_out_queued(session) == [job_id]
    error = store.row(job_id).error
    assert error is not None
    assert (error["code"], error["category"]) == ("queue_timeout", "timeout")


@pytest.mark.parametrize("to", sorted(states.LEGAL))
def test_no_state_is_reached_but_by_a_legal_way(store: Store, to: str):
    ended = store.claimed()
    with store.database.write() as session:
        leases.finish(session, ended.token, Result())
        assert states.move(session, to, Job.id == ended.job_id) is None
    assert store.row(ended.job_id).state == "succeeded"


def test_every_change_of_state_is_an_event_in_order(store: Store):
    claimed = store.claimed()
    with store.database.write() as session:
        leases.requeue(session, store.settings, claimed.token, TROUBLE)
    again = store.claim()
    assert again is not None
    with store.database.write() as session:
        leases.finish(session, again.token, Result())
        rows = session.scalars(select(JobEvent).order_by(JobEvent.seq)).all()
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert [row.data["state"] for row in rows] == ["queued", "running", "queued", "running", "succeeded"]
    assert rows[2].data["detail"] == "it broke"


def test_where_no_worker_lives_every_job_goes_back_at_once_and_no_attempt_counts(store: Store):
    held = store.claimed()
    stopping = store.claimed()
    with store.database.write() as session:
        jobs.cancel(store.scope(session), stopping.job_id)
    with store.database.write() as session:
        assert sorted(leases.reap_all(session, store.settings)) == sorted([held.job_id, stopping.job_id])
    assert store.row(stopping.job_id).state == "cancelled"
    again = store.claim()
    assert again is not None
    assert (again.job_id, again.attempt) == (held.job_id, 1)
