"""A job's log: pieces as rows while it runs, one blob afterwards. Of a long one the head and the tail are kept."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from modelpress.resources import TERMINAL
from store import contents
from store.blobs.base import Blobs
from store.claims import ACTIVE
from store.contents import blob_key
from store.database import Database
from store.leases import LeaseLost
from store.settings import Settings
from store.tables import Job, JobLog

_PIECE = 2**16


@dataclass(frozen=True)
class Piece:
    """Some of a log. `start` is its place in the whole; before it something may have been left out."""

    start: int
    data: bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.data)


def append(session: Session, settings: Settings, token: str, chunk: bytes) -> None:
    """Add to the log. Raises LeaseLost."""
    if not chunk:
        return
    job = update(Job).where(Job.lease_token == token, Job.state.in_(ACTIVE))
    row = session.execute(
        job.values(log_bytes=Job.log_bytes + len(chunk)).returning(Job.id, Job.log_bytes)
    ).one_or_none()
    if row is None:
        raise LeaseLost(token)
    half, start = settings.log_bytes // 2, row.log_bytes - len(chunk)
    pieces = [Piece(start + i, chunk[i : i + _PIECE]) for i in range(0, len(chunk), _PIECE)]
    kept = [piece for piece in pieces if piece.start < half or piece.stop > row.log_bytes - half]
    if kept:
        rows = [{"job_id": row.id, "start": piece.start, "data": piece.data} for piece in kept]
        session.execute(insert(JobLog), rows)
    session.execute(
        delete(JobLog).where(
            JobLog.job_id == row.id,
            JobLog.start >= half,
            JobLog.start + func.length(JobLog.data) <= row.log_bytes - half,
        )
    )


def read(session: Session, job_id: str, start: int, most: int = 2**20) -> list[Piece]:
    """Pieces from `start` on, about `most` bytes of them, while they are rows."""
    rows = select(JobLog).where(JobLog.job_id == job_id, JobLog.start + func.length(JobLog.data) > start)
    found, size = [], 0
    for row in session.scalars(rows.order_by(JobLog.start).limit(most // _PIECE + 64)):
        skip = max(start - row.start, 0)
        found.append(Piece(row.start + skip, row.data[skip:]))
        size += len(found[-1].data)
        if size >= most:
            break
    return found


def archive(database: Database, blobs: Blobs, job_id: str) -> None:
    """Turn the rows of a job that is over into one blob. Doing it twice is harmless."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with database.read() as session:
            job = session.get_one(Job, job_id)
            if job.state not in TERMINAL:
                return
            with path.open("wb") as file:
                file.writelines(_whole(session, job_id))
        if not path.stat().st_size:
            return
        content = contents.keep(database, blobs, job.project_id, path)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(log_sha256=content.sha256))
        session.execute(delete(JobLog).where(JobLog.job_id == job_id))


def _whole(session: Session, job_id: str) -> Iterator[bytes]:
    reached = 0
    rows = select(JobLog).where(JobLog.job_id == job_id).order_by(JobLog.start)
    for row in session.scalars(rows.execution_options(yield_per=16)):
        if row.start > reached:
            yield b"\n[%d bytes left out]\n" % (row.start - reached)
        yield row.data
        reached = row.start + len(row.data)


def unarchived(session: Session, limit: int = 50) -> list[str]:
    """Jobs that are over and whose log is still rows: their worker died before it could archive them."""
    rows = select(Job.id).where(Job.state.in_(TERMINAL), select(1).where(JobLog.job_id == Job.id).exists())
    return list(session.scalars(rows.limit(limit)))


def archived(blobs: Blobs, job: Job, start: int) -> Iterator[bytes]:
    assert job.log_sha256 is not None
    return blobs.read(blob_key(job.project_id, job.log_sha256), start)
