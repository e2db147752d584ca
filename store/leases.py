"""What a worker does to a job it holds: live, tell, and end it. Every write names the lease token.

A worker whose token no longer fits gets `LeaseLost`: the job is somebody else's, it must stop its child at once
and throw away what that made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelpress.problem import Problem
from modelpress.result import Result
from store import dependents, states
from store.claims import ACTIVE
from store.contents import Content
from store.database import now
from store.ids import new_id
from store.problems import WorkerLost
from store.settings import Settings
from store.tables import Artifact, Job, JobAttempt, MeasurementRow


class LeaseLost(Exception):
    """The token no longer fits: another worker has the job, or it is over."""


@dataclass(frozen=True)
class Beat:
    cancel_requested: bool
    deadline: datetime


@dataclass(frozen=True)
class Made:
    """A file that a job made, already kept as a blob."""

    name: str
    sha256: str
    size_bytes: int
    media_type: str = "application/octet-stream"


def look(session: Session, token: str) -> Beat:
    """Read only: is cancel wanted? Raises LeaseLost."""
    row = session.execute(
        select(Job.cancel_requested_at, Job.deadline_at).where(Job.lease_token == token, Job.state.in_(ACTIVE))
    ).one_or_none()
    if row is None:
        raise LeaseLost(token)
    return Beat(cancel_requested=row.cancel_requested_at is not None, deadline=row.deadline_at)


def heartbeat(session: Session, settings: Settings, token: str) -> Beat:
    """Keep the lease for another `lease_seconds`. Raises LeaseLost."""
    expires = now(session) + timedelta(seconds=settings.lease_seconds)
    change = update(Job).where(Job.lease_token == token, Job.state.in_(ACTIVE)).values(lease_expires_at=expires)
    row = session.execute(change.returning(Job.cancel_requested_at, Job.deadline_at)).one_or_none()
    if row is None:
        raise LeaseLost(token)
    return Beat(cancel_requested=row.cancel_requested_at is not None, deadline=row.deadline_at)


def held(session: Session, token: str) -> Job:
    """The job, its row locked until the transaction ends. Raises LeaseLost."""
    statement = select(Job).where(Job.lease_token == token, Job.state.in_(ACTIVE)).with_for_update()
    job = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    if job is None:
        raise LeaseLost(token)
    return job


def save_checkpoint(session: Session, token: str, checkpoint: Content) -> None:
    """Remember a blob (kept with `contents.keep`) as what a next attempt starts from."""
    held(session, token).checkpoint_sha256 = checkpoint.sha256
    session.flush()


# -- ending -------------------------------------------------------------------------------------------------


def finish(session: Session, token: str, result: Result, made: Sequence[Made] = ()) -> None:
    """Success: result, artifacts and measurements in one transaction with the state. Raises LeaseLost."""
    values = {"result": result.model_dump(mode="json"), "error": None, "checkpoint_sha256": None}
    job = _end(session, token, "succeeded", None, values)
    _add_artifacts(session, job, made)
    session.add_all(_measurements(job.id, result))
    session.flush()
    dependents.after(session, job)


def fail(session: Session, token: str, problem: Problem, made: Sequence[Made] = ()) -> None:
    """The job failed for good; what it made so far may come along. Raises LeaseLost."""
    job = _end(session, token, "failed", problem, {"error": states.stored(problem)})
    _add_artifacts(session, job, made)
    session.flush()
    dependents.after(session, job)


def cancelled(session: Session, token: str) -> None:
    """The child is dead, as the user wished. Raises LeaseLost."""
    dependents.after(session, _end(session, token, "cancelled", None, {}))


def requeue(session: Session, settings: Settings, token: str, problem: Problem, *, counts_attempt: bool = True) -> str:
    """Give the job back for another attempt; returns the state it got. Raises LeaseLost.

    With no attempt left it fails with `problem`; where cancel was wanted, it is cancelled. A draining worker says
    `counts_attempt=False`: the next attempt then starts at once and is not counted.
    """
    return _give_back(session, settings, held(session, token), problem, counts_attempt=counts_attempt)


def reap_expired(session: Session, settings: Settings) -> list[str]:
    """Take jobs from workers that fell silent; returns their ids."""
    expired = select(Job).where(Job.state.in_(ACTIVE), Job.lease_expires_at < now(session))
    jobs = session.scalars(expired.with_for_update(skip_locked=True).limit(100)).all()
    problem = WorkerLost("the worker fell silent and its lease ran out").problem()
    for job in jobs:
        _give_back(session, settings, job, problem, counts_attempt=True)
    return [job.id for job in jobs]


def reap_all(session: Session, settings: Settings) -> list[str]:
    """Take every job from its worker, by whoever knows that no worker lives; returns their ids.

    The attempts do not count: it was the service that died. A job that was being cancelled is cancelled.
    """
    jobs = session.scalars(select(Job).where(Job.state.in_(ACTIVE)).with_for_update()).all()
    problem = WorkerLost("the service ended while it ran the job").problem()
    for job in jobs:
        _give_back(session, settings, job, problem, counts_attempt=False)
    return [job.id for job in jobs]


def _give_back(session: Session, settings: Settings, job: Job, problem: Problem, *, counts_attempt: bool) -> str:
    token, moment = job.lease_token, now(session)
    assert token is not None
    assert job.deadline_at is not None
    if job.state == "cancelling":
        ended = _end(session, token, "cancelled", problem, {})
    elif counts_attempt and job.attempt >= job.max_attempts:
        ended = _end(session, token, "failed", problem, {"error": states.stored(problem)})
    else:
        wait = settings.retry_backoff_seconds * 2 ** (job.attempt - 1) if counts_attempt else 0.0
        again = {
            "attempt": job.attempt if counts_attempt else job.attempt - 1,
            "run_after": moment + timedelta(seconds=wait),
            "run_seconds_left": max((job.deadline_at - moment).total_seconds(), 0.0),
        }
        return _end(session, token, "queued", problem, again).state
    dependents.after(session, ended)
    return ended.state


def _end(session: Session, token: str, to: str, problem: Problem | None, values: dict[str, Any]) -> Job:
    detail = problem.detail or problem.title if problem else ""
    job = states.move(session, to, Job.lease_token == token, detail=detail, **values)
    if job is None:
        raise LeaseLost(token)
    attempt = session.get_one(JobAttempt, token)
    attempt.ended_at, attempt.outcome = now(session), to
    attempt.detail = f"{problem.code}: {detail}" if problem else None
    return job


def _measurements(job_id: str, result: Result) -> list[MeasurementRow]:
    found = [(candidate.step, item) for candidate in result.candidates for item in candidate.measurements]
    return [
        MeasurementRow(
            job_id=job_id,
            number=number,
            step=step,
            subject=item.subject,
            metric=item.metric,
            value=item.value,
            low=item.low,
            high=item.high,
            unit=item.unit,
            role=item.role,
            samples=item.samples,
        )
        for number, (step, item) in enumerate(found)
    ]


def _add_artifacts(session: Session, job: Job, made: Sequence[Made]) -> None:
    moment = now(session)
    for item in made:
        session.add(
            Artifact(
                id=new_id("art"),
                project_id=job.project_id,
                job_id=job.id,
                name=item.name,
                sha256=item.sha256,
                size_bytes=item.size_bytes,
                media_type=item.media_type,
                created_at=moment,
            )
        )
