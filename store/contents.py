"""Blobs as rows: what a project holds, how a file becomes one, and when one goes.

The object in the blob store is written first, its row second, so that a row always means bytes that were verified.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from modelpress.problem import Unavailable
from store.blobs.base import Blobs
from store.database import Database, now
from store.settings import Settings
from store.tables import Artifact, Blob, Dataset, DatasetFile, Job, JobInput, Model, ModelFile

_PIECE = 2**20


@dataclass(frozen=True)
class Content:
    sha256: str
    size_bytes: int


def blob_key(project_id: str, sha256: str) -> str:
    """Name of an object in the blob store; content is shared inside a project, never between two."""
    return f"projects/{project_id}/blobs/{sha256[:2]}/{sha256}"


def keep(database: Database, blobs: Blobs, project_id: str, path: Path) -> Content:
    """Make a file a blob of the project. The file must not change meanwhile."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    content = Content(digest.hexdigest(), size)
    blobs.put(blob_key(project_id, content.sha256), path, content.sha256)
    with database.write() as session:
        enter(session, blobs, project_id, content)
    return content


def enter(session: Session, blobs: Blobs, project_id: str, content: Content) -> None:
    """Write the row of an object that was verified and put. Raises Unavailable if garbage collection was faster."""
    moment = now(session)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = {
        "project_id": project_id,
        "sha256": content.sha256,
        "size_bytes": content.size_bytes,
        "created_at": moment,
        "touched_at": moment,
    }
    write = insert(Blob).values(row)
    session.execute(write.on_conflict_do_update(index_elements=["project_id", "sha256"], set_={"touched_at": moment}))
    if blobs.size(blob_key(project_id, content.sha256)) != content.size_bytes:
        raise Unavailable("the stored bytes went while they were being recorded; try again")


def find(session: Session, project_id: str, sha256: str) -> Content | None:
    """What the project holds under this hash; looking keeps it from being collected soon."""
    blob = session.get(Blob, (project_id, sha256), with_for_update=True, populate_existing=True)
    if blob is None:
        return None
    blob.touched_at = now(session)
    session.flush()
    return Content(blob.sha256, blob.size_bytes)


def collect_garbage(database: Database, blobs: Blobs, settings: Settings, *, most: int = 100) -> int:
    """Delete blobs that nothing refers to and that were not wanted for a while; returns how many."""
    with database.write() as session:
        before = now(session) - timedelta(hours=settings.blob_grace_hours)
        old = select(Blob).where(Blob.touched_at < before, ~or_(*_references())).limit(most)
        rows = session.scalars(old.with_for_update(skip_locked=True)).all()
        for row in rows:
            blobs.delete(blob_key(row.project_id, row.sha256))
            session.delete(row)
        return len(rows)


def _references() -> list[ColumnElement[bool]]:
    """Everything that keeps a blob. The inputs of a job that is over don't: its model and data sets do."""

    def somewhere(*where: ColumnElement[bool]) -> ColumnElement[bool]:
        return select(1).where(*where).correlate(Blob).exists()

    own_job = Job.project_id == Blob.project_id
    return [
        somewhere(Artifact.project_id == Blob.project_id, Artifact.sha256 == Blob.sha256),
        somewhere(own_job, or_(Job.log_sha256 == Blob.sha256, Job.checkpoint_sha256 == Blob.sha256)),
        somewhere(own_job, JobInput.job_id == Job.id, JobInput.sha256 == Blob.sha256, Job.finished_at.is_(None)),
        somewhere(
            Model.project_id == Blob.project_id,
            ModelFile.model_id == Model.id,
            ModelFile.sha256 == Blob.sha256,
            Model.deleted_at.is_(None),
        ),
        somewhere(
            Dataset.project_id == Blob.project_id,
            DatasetFile.dataset_id == Dataset.id,
            DatasetFile.sha256 == Blob.sha256,
            Dataset.deleted_at.is_(None),
        ),
    ]
