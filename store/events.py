"""What a running job says: progress in its row, everything else as numbered rows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from modelpress.base import Answer
from modelpress.events import Progress
from store.claims import ACTIVE
from store.database import now
from store.leases import LeaseLost
from store.settings import Settings
from store.tables import Job, JobEvent


def record(session: Session, settings: Settings, token: str, events: Sequence[Answer]) -> None:
    """Write events in order; of progress only the last counts. Raises LeaseLost.

    A job keeps at most `max_events` rows; what comes after is dropped.
    """
    shown = [event for event in events if isinstance(event, Progress)]
    kept: list[dict[str, Any]] = [event.model_dump(mode="json") for event in events if not isinstance(event, Progress)]
    values: dict[str, Any] = {"progress": shown[-1].model_dump(mode="json", exclude={"type"})} if shown else {}
    job = update(Job).where(Job.lease_token == token, Job.state.in_(ACTIVE))
    last = session.scalars(
        job.values(values | {"last_seq": Job.last_seq + len(kept)}).returning(Job.last_seq)
    ).one_or_none()
    if last is None:
        raise LeaseLost(token)
    first = last - len(kept) + 1
    room = max(settings.max_events - first + 1, 0)
    if len(kept) > room:
        session.execute(job.values(last_seq=first + room - 1))
        kept = kept[:room]
    if kept:
        job_id, moment = session.scalars(select(Job.id).where(Job.lease_token == token)).one(), now(session)
        rows = [
            {"job_id": job_id, "seq": first + i, "type": data["type"], "data": data, "created_at": moment}
            for i, data in enumerate(kept)
        ]
        session.execute(insert(JobEvent), rows)


def after(session: Session, job_id: str, seq: int, limit: int) -> list[JobEvent]:
    """The events that follow number `seq`, in order."""
    events = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > seq)
    return list(session.scalars(events.order_by(JobEvent.seq).limit(limit)))
