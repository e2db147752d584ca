"""Answers kept to be given again, for as long as a client may still retry."""

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from store.database import now
from store.settings import Settings
from store.tables import IdempotencyKey


def forget_old(session: Session, settings: Settings) -> None:
    before = now(session) - timedelta(hours=settings.idempotency_hours)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < before))
