"""The tables. Ids are text (`store.ids`), times come from the database's clock, JSON is kept as it was sent."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modelpress.resources import STATES
from store.types import Id, Json, Text, UtcTime


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: UtcTime,
        dict[str, Any]: Json,
        list[Any]: Json,
        int: BigInteger,
    }


class SchemaVersion(Base):
    """One row: what the tables are, and the oldest code that may use them."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    compatible_from: Mapped[int]


# -- who ----------------------------------------------------------------------------------------------------


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    max_running_jobs: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    max_stored_bytes: Mapped[int | None]


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    hash: Mapped[str]
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class AuditEntry(Base):
    __tablename__ = "audit_log"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    key_id: Mapped[str | None] = mapped_column(Id)
    action: Mapped[str]
    subject: Mapped[str]
    request_id: Mapped[str | None]
    created_at: Mapped[datetime]


class IdempotencyKey(Base):
    """What was answered to a creating POST, to be answered again."""

    __tablename__ = "idempotency_keys"
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    route: Mapped[str]
    request_hash: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


# -- files --------------------------------------------------------------------------------------------------


class Blob(Base):
    """Bytes whose hash was verified. A row is made only then."""

    __tablename__ = "blobs"
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(Id, primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[datetime]
    touched_at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    """When it was last made or wanted: garbage is old."""


class Upload(Base):
    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    filename: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(Id)
    state: Mapped[str]
    mode: Mapped[str]
    part_size: Mapped[int]
    staging: Mapped[str | None]
    """The blob store's own handle on the parts; none where nothing needs to be sent."""
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)

    __table_args__ = (
        CheckConstraint("state IN ('pending', 'verifying', 'completed', 'failed', 'expired')", name="state"),
    )


class Model(Base):
    __tablename__ = "models"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    state: Mapped[str]
    inspection: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    tags: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("state IN ('validating', 'ready', 'rejected')", name="state"),)


class ModelFile(Base):
    __tablename__ = "model_files"
    model_id: Mapped[str] = mapped_column(Id, ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]
    upload_id: Mapped[str] = mapped_column(Id, ForeignKey("uploads.id"), index=True)
    sha256: Mapped[str] = mapped_column(Id)
    size_bytes: Mapped[int]


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    state: Mapped[str]
    format: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    tags: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("state IN ('verifying', 'ready', 'rejected')", name="state"),)


class DatasetFile(Base):
    __tablename__ = "dataset_files"
    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    path: Mapped[str]
    upload_id: Mapped[str] = mapped_column(Id, ForeignKey("uploads.id"), index=True)
    sha256: Mapped[str] = mapped_column(Id)
    size_bytes: Mapped[int]


# -- jobs ---------------------------------------------------------------------------------------------------

_STATES = ", ".join(f"'{state}'" for state in STATES)


class Job(Base):
    """A job's whole state. `spec` is what lies in the job folder as `job.json`."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"), index=True)
    kind: Mapped[str]
    lane: Mapped[str]
    name: Mapped[str | None]
    state: Mapped[str]
    priority: Mapped[int]
    contract: Mapped[int]
    model_id: Mapped[str | None] = mapped_column(Id, ForeignKey("models.id"), index=True)
    upload_id: Mapped[str | None] = mapped_column(Id, ForeignKey("uploads.id"), index=True)
    parent_job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id"), index=True)
    spec: Mapped[dict[str, Any]]
    data: Mapped[dict[str, Any]]
    """The request's `data`, with the ids of data sets; `spec` names files instead."""
    tags: Mapped[dict[str, Any]]

    device: Mapped[list[Any]]
    device_class: Mapped[str]
    fallback_class: Mapped[str | None]
    """`device` for SQL: the best class, and the one that may take the job where no worker of the best is live."""

    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    run_after: Mapped[datetime]
    queue_deadline_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    run_seconds_left: Mapped[float]
    lease_token: Mapped[str | None] = mapped_column(Id, unique=True)
    lease_expires_at: Mapped[datetime | None]
    worker_id: Mapped[str | None]
    cancel_requested_at: Mapped[datetime | None]

    progress: Mapped[dict[str, Any]]
    last_seq: Mapped[int] = mapped_column(default=0)
    log_bytes: Mapped[int] = mapped_column(default=0)
    log_sha256: Mapped[str | None] = mapped_column(Id)
    checkpoint_sha256: Mapped[str | None] = mapped_column(Id)
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]

    created_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint("(state IN ('running', 'cancelling')) = (lease_token IS NOT NULL)", name="lease"),
        CheckConstraint("(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"),
        Index("ix_jobs_claim", "state", "lane", "device_class", "priority", "id"),
        Index("ix_jobs_listed", "project_id", "kind", "id"),
        Index("ix_jobs_lease", "lease_expires_at"),
        ForeignKeyConstraint(["project_id", "log_sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_jobs_log"),
        ForeignKeyConstraint(
            ["project_id", "checkpoint_sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_jobs_checkpoint"
        ),
    )


class JobInput(Base):
    """A file of `inputs/`. The blob may still be on its way while the job is waiting."""

    __tablename__ = "job_inputs"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    sha256: Mapped[str] = mapped_column(Id, index=True)
    size_bytes: Mapped[int]


class JobDataset(Base):
    """Which data sets a job uses: it waits for them, and they can't go while it does."""

    __tablename__ = "job_datasets"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(Text, primary_key=True)
    dataset_id: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), index=True)


class JobAttempt(Base):
    __tablename__ = "job_attempts"
    lease_token: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    worker_id: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    detail: Mapped[str | None]


class JobEvent(Base):
    __tablename__ = "job_events"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class JobLog(Base):
    """A piece of a job's log, by its place in the whole."""

    __tablename__ = "job_logs"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class MeasurementRow(Base):
    __tablename__ = "measurements"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]
    subject: Mapped[str]
    metric: Mapped[str] = mapped_column(Text, index=True)
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    unit: Mapped[str]
    role: Mapped[str | None]
    samples: Mapped[int | None]


class Artifact(Base):
    __tablename__ = "artifacts"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    project_id: Mapped[str] = mapped_column(Id, ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    sha256: Mapped[str] = mapped_column(Id)
    size_bytes: Mapped[int]
    media_type: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(["project_id", "sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_artifacts_blob"),
        Index("ix_artifacts_blob", "project_id", "sha256"),
    )


class Worker(Base):
    """Who was seen when: for display, for `auto` and for counting rings. Leases never depend on it."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    queue: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    started_at: Mapped[datetime]
    info: Mapped[dict[str, Any]]
