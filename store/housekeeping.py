"""What the keeper tidies, again and again; each part may fail without stopping the others."""

from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy import delete

from store import contents, logs, uploads, workers
from store.blobs import Blobs
from store.database import Database, now
from store.settings import Settings
from store.tables import IdempotencyKey

log = structlog.get_logger(__name__)


def sweep(database: Database, blobs: Blobs, settings: Settings) -> None:
    """Drop what nobody waits for any more: old uploads, unused blobs, old keys; archive logs left behind."""
    parts: dict[str, Callable[[], object]] = {
        "uploads": lambda: uploads.expire(database, blobs),
        "garbage": lambda: contents.collect_garbage(database, blobs, settings),
        "idempotency": lambda: forget_idempotency_keys(database, settings),
        "workers": lambda: _forget_workers(database),
        "logs": lambda: _archive_logs(database, blobs),
    }
    for name, part in parts.items():
        try:
            part()
        except Exception as error:  # a store that is away must not keep the others from being tidied
            log.warning("sweep_failed", part=name, error=repr(error))


def forget_idempotency_keys(database: Database, settings: Settings) -> None:
    with database.write() as session:
        before = now(session) - timedelta(hours=settings.idempotency_hours)
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < before))


def _forget_workers(database: Database) -> None:
    with database.write() as session:
        workers.forget_old(session)


def _archive_logs(database: Database, blobs: Blobs) -> None:
    with database.read() as session:
        left = logs.unarchived(session)
    for job_id in left:
        logs.archive(database, blobs, job_id)
