"""Who is alive: workers say so, others count them."""

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from store.database import now
from store.settings import Settings
from store.tables import Worker

_FORGET_AFTER = timedelta(days=1)


def seen(session: Session, worker_id: str, queue: str, info: dict[str, Any] | None = None) -> None:
    """A worker that listens to `queue` is alive; say it at least every third of `worker_seen_seconds`."""
    moment = now(session)
    worker = session.get(Worker, worker_id)
    if worker is None:
        worker = Worker(id=worker_id, queue=queue, started_at=moment, seen_at=moment, info={})
        session.add(worker)
    worker.queue, worker.seen_at = queue, moment
    worker.info = info if info is not None else worker.info
    session.flush()


def gone(session: Session, worker_id: str) -> None:
    """It stopped in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def live(session: Session, settings: Settings) -> dict[str, int]:
    """Live workers by queue."""
    since = now(session) - timedelta(seconds=settings.worker_seen_seconds)
    counts = select(Worker.queue, func.count().label("live")).where(Worker.seen_at >= since).group_by(Worker.queue)
    return {row.queue: row.live for row in session.execute(counts)}


def forget_old(session: Session) -> None:
    session.execute(delete(Worker).where(Worker.seen_at < now(session) - _FORGET_AFTER))
