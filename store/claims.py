"""Claiming: which job is next for a worker, and all it needs to run it."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, or_, select
from sqlalchemy.orm import Session, aliased

from modelpress.base import CONTRACT
from store import states
from store.contents import blob_key
from store.database import now
from store.rings import DEVICE, INSPECT, queue_name
from store.settings import Settings
from store.tables import Blob, Job, JobAttempt, JobInput, Project, Worker
from store.types import Text

ACTIVE = ("running", "cancelling")


@dataclass(frozen=True)
class Input:
    """A file to be put into `inputs/`."""

    name: str
    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Claimed:
    """All that a supervisor needs to build the job folder and watch its child."""

    token: str
    job_id: str
    project_id: str
    kind: str
    lane: str
    attempt: int
    max_attempts: int
    spec: dict[str, Any]
    """`job.json`, as it is."""
    inputs: tuple[Input, ...]
    checkpoint: Input | None
    """What an earlier attempt reached; `name` is empty."""
    deadline: datetime
    """On the database's clock; `seconds_left` is the same, from the moment of the claim."""
    seconds_left: float
    no_progress_seconds: float
    memory_bytes: int | None
    upload_id: str | None


def claim(
    session: Session, settings: Settings, worker_id: str, lane: str, classes: Collection[str] = ("cpu",)
) -> Claimed | None:
    """Take the best eligible job of a lane, or None. `classes` are the device classes this worker has."""
    moment = now(session)
    chosen = session.scalar(
        select(Job.id)
        .join(Project, Project.id == Job.project_id)
        .where(*_eligible(settings, moment, lane, classes))
        .order_by(Job.priority.desc(), Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )
    if chosen is None:
        return None
    token = secrets.token_hex(16)
    job = states.move(
        session,
        "running",
        Job.id == chosen,
        detail=worker_id,
        attempt=Job.attempt + 1,
        lease_token=token,
        lease_expires_at=moment + timedelta(seconds=settings.lease_seconds),
        worker_id=worker_id,
        started_at=func.coalesce(Job.started_at, moment),
    )
    if job is None:
        return None
    job.deadline_at = moment + timedelta(seconds=job.run_seconds_left)
    session.add(
        JobAttempt(lease_token=token, job_id=job.id, attempt=job.attempt, worker_id=worker_id, started_at=moment)
    )
    session.flush()
    return _claimed(session, settings, job, token)


def _eligible(settings: Settings, moment: datetime, lane: str, classes: Collection[str]) -> list[ColumnElement[bool]]:
    other = aliased(Job)
    running = (
        select(func.count())
        .where(other.project_id == Job.project_id, other.lane == DEVICE, other.state.in_(ACTIVE))
        .scalar_subquery()
    )
    conditions = [
        Job.state == "queued",
        Job.lane == lane,
        Job.run_after <= moment,
        Job.contract <= CONTRACT,
    ]
    if lane == INSPECT:
        return conditions
    # A worker of the second-best class waits for the best one while one of those is alive.
    since = moment - timedelta(seconds=settings.worker_seen_seconds)
    best_is_live = (
        select(Worker.id)
        .where(Worker.queue == literal(queue_name(DEVICE), Text).concat(Job.device_class), Worker.seen_at >= since)
        .exists()
    )
    return [
        *conditions,
        or_(Job.device_class.in_(classes), and_(Job.fallback_class.in_(classes), ~best_is_live)),
        running < func.coalesce(Project.max_running_jobs, settings.max_running_jobs),
    ]


def _claimed(session: Session, settings: Settings, job: Job, token: str) -> Claimed:
    assert job.deadline_at is not None
    rows = session.scalars(select(JobInput).where(JobInput.job_id == job.id).order_by(JobInput.name))
    budget = job.spec.get("budget", {})
    most = settings.max_job_memory if job.lane == DEVICE else settings.max_inspect_memory
    memory = [limit for limit in (budget.get("memory_bytes"), most) if limit]
    return Claimed(
        token=token,
        job_id=job.id,
        project_id=job.project_id,
        kind=job.kind,
        lane=job.lane,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        spec=job.spec,
        inputs=tuple(Input(r.name, blob_key(job.project_id, r.sha256), r.sha256, r.size_bytes) for r in rows),
        checkpoint=_checkpoint(session, job),
        deadline=job.deadline_at,
        seconds_left=job.run_seconds_left,
        no_progress_seconds=budget.get("no_progress_seconds") or settings.inspect_seconds,
        memory_bytes=min(memory) if memory else None,
        upload_id=job.upload_id,
    )


def _checkpoint(session: Session, job: Job) -> Input | None:
    if job.checkpoint_sha256 is None:
        return None
    blob = session.get_one(Blob, (job.project_id, job.checkpoint_sha256))
    return Input("", blob_key(job.project_id, blob.sha256), blob.sha256, blob.size_bytes)


def eligible(session: Session, settings: Settings) -> dict[str, int]:
    """How many jobs each queue could start now: what the keeper rings for."""
    moment, found = now(session), dict[str, int]()
    for lane, device_class in ((INSPECT, "cpu"), (DEVICE, "cpu"), (DEVICE, "cuda")):
        statement = select(func.count(Job.id)).join(Project, Project.id == Job.project_id)
        count = session.scalars(statement.where(*_eligible(settings, moment, lane, (device_class,)))).one()
        if count:
            found[queue_name(lane, device_class)] = count
    return found
