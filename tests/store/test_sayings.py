"""Events and logs: numbered, bounded, and harmless whatever a job says."""

import math

from sqlalchemy import func, select

from modelpress.events import MetricEvent, Progress, StepStarted, WarningEvent
from modelpress.result import Result
from store import events, leases, logs
from store.tables import JobEvent, JobLog
from tests.store.conftest import Store


def test_progress_goes_to_the_row_and_the_rest_is_numbered(store: Store):
    claimed = store.claimed()
    said = [
        StepStarted(step=0, technique="recover"),
        Progress(phase="compressing", fraction=0.1),
        MetricEvent(subject="original", metric="top1", value=0.9),
        Progress(phase="compressing", fraction=0.2, message="epoch 1"),
    ]
    with store.database.write() as session:
        events.record(session, store.settings, claimed.token, said)
    assert store.row(claimed.job_id).progress == {
        "phase": "compressing",
        "fraction": 0.2,
        "step": None,
        "message": "epoch 1",
        "seconds_left": None,
    }
    with store.database.read() as session:
        rows = events.after(session, claimed.job_id, 2, 10)
        assert [(row.seq, row.type) for row in rows] == [(3, "step.started"), (4, "metric")]
        assert [row.seq for row in events.after(session, claimed.job_id, 3, 10)] == [4]


def test_a_job_that_never_stops_talking_keeps_a_bounded_number_of_events(store: Store):
    store.settings.max_events = 10
    claimed = store.claimed()
    for _ in range(5):
        with store.database.write() as session:
            events.record(session, store.settings, claimed.token, [WarningEvent(code="c", message="m")] * 4)
    with store.database.write() as session:
        leases.finish(session, claimed.token, Result())
        rows = session.scalars(select(JobEvent).order_by(JobEvent.seq)).all()
    assert [row.seq for row in rows] == list(range(1, 12))
    assert rows[-1].data["state"] == "succeeded"


def test_what_no_database_can_hold_does_not_stop_a_job(store: Store):
    claimed = store.claimed()
    said = [
        WarningEvent(code="nul\0", message="half a pair \ud800"),
        MetricEvent(subject="a", metric="b", value=math.nan),
    ]
    with store.database.write() as session:
        events.record(session, store.settings, claimed.token, said)
        rows = events.after(session, claimed.job_id, 2, 10)
        session.expire_all()
        assert rows[0].data["code"] == "nul"
        assert "half a pair" in rows[0].data["message"]
        assert rows[1].data["value"] is None


def test_a_long_log_keeps_its_head_and_its_tail(store: Store):
    store.settings.log_bytes = 1024
    claimed = store.claimed()
    chunks = [b"%07d\n" % i for i in range(1000)]
    for i in range(0, 1000, 40):
        with store.database.write() as session:
            logs.append(session, store.settings, claimed.token, b"".join(chunks[i : i + 40]))
    with store.database.read() as session:
        kept = logs.read(session, claimed.job_id, 0)
        size = session.scalar(select(func.sum(func.length(JobLog.data))))
    text = b"".join(piece.data for piece in kept)
    assert text.startswith(b"0000000\n")
    assert text.endswith(b"0000999\n")
    assert 1024 <= (size or 0) <= 1024 + 2 * 320
    assert store.row(claimed.job_id).log_bytes == 8000


def test_a_log_can_be_read_on_from_any_byte(store: Store):
    claimed = store.claimed()
    with store.database.write() as session:
        logs.append(session, store.settings, claimed.token, b"abc")
        logs.append(session, store.settings, claimed.token, b"defg")
    with store.database.read() as session:
        pieces = logs.read(session, claimed.job_id, 2)
    assert [(piece.start, piece.data) for piece in pieces] == [(2, b"c"), (3, b"defg")]
    assert pieces[-1].stop == 7


def test_the_log_of_a_job_that_is_over_becomes_one_blob(store: Store):
    store.settings.log_bytes = 1024
    claimed = store.claimed()
    with store.database.write() as session:
        logs.append(session, store.settings, claimed.token, b"a" * 600)
        logs.append(session, store.settings, claimed.token, b"b" * 600)
        logs.append(session, store.settings, claimed.token, b"c" * 600)
    logs.archive(store.database, store.blobs, claimed.job_id)
    assert store.row(claimed.job_id).log_sha256 is None
    with store.database.write() as session:
        leases.finish(session, claimed.token, Result())
        assert logs.unarchived(session) == [claimed.job_id]
    for _ in range(2):
        logs.archive(store.database, store.blobs, claimed.job_id)
    job = store.row(claimed.job_id)
    whole = b"".join(logs.archived(store.blobs, job, 0))
    assert whole == b"a" * 600 + b"\n[600 bytes left out]\n" + b"c" * 600
    with store.database.read() as session:
        assert logs.unarchived(session) == []
