"""The one place where a job's state changes, and where the change is written down as an event."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, update
from sqlalchemy.orm import Session

from modelpress.problem import Problem
from modelpress.resources import TERMINAL
from store.database import now, ring_after_commit
from store.rings import queue_name
from store.tables import Job, JobEvent

LEGAL: dict[str, frozenset[str]] = {
    "waiting": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"succeeded", "failed", "cancelling", "queued"}),
    "cancelling": frozenset({"cancelled", "failed", "succeeded"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

_NO_LEASE = {"lease_token": None, "lease_expires_at": None, "worker_id": None, "deadline_at": None}


def begin(session: Session, job: Job) -> None:
    """Write a new job, `waiting` or `queued`, with its first event."""
    job.last_seq = 1
    session.add(job)
    session.flush()
    _note(session, job, job.created_at, "")
    if job.state == "queued":
        _ring(session, job)


def move(session: Session, to: str, *where: ColumnElement[bool], detail: str = "", **values: Any) -> Job | None:
    """Move the one job that `where` names to the state `to`; None if there is none or it may not go there."""
    moment = now(session)
    changed: dict[str, Any] = {"state": to, "last_seq": Job.last_seq + 1}
    if to not in ("running", "cancelling"):
        changed |= _NO_LEASE
    if to == "queued":
        changed["queued_at"] = func.coalesce(Job.queued_at, moment)
    if to in TERMINAL:
        changed["finished_at"] = moment
    statement = (
        update(Job)
        .where(Job.state.in_([state for state, targets in LEGAL.items() if to in targets]), *where)
        .values(changed | values)
        .returning(Job)
    )
    options = {"populate_existing": True, "synchronize_session": False}
    job = session.scalars(statement, execution_options=options).one_or_none()
    if job is None:
        return None
    _note(session, job, moment, detail)
    if to == "queued":
        _ring(session, job)
    return job


def stored(problem: Problem) -> dict[str, Any]:
    return problem.model_dump(mode="json")


def _note(session: Session, job: Job, moment: datetime, detail: str) -> None:
    data = {"type": "state", "state": job.state, "attempt": job.attempt, "detail": detail}
    session.add(JobEvent(job_id=job.id, seq=job.last_seq, type="state", data=data, created_at=moment))
    session.flush()


def _ring(session: Session, job: Job) -> None:
    """Wake all who may take it; the claim decides who does."""
    for device_class in filter(None, (job.device_class, job.fallback_class)):
        ring_after_commit(session, queue_name(job.lane, device_class))
