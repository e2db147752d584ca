"""The first tables: projects and keys, files, jobs and what they say and make."""

import sqlalchemy as sa
from alembic import op

from store import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("max_running_jobs", sa.BigInteger(), nullable=True),
        sa.Column("max_queued_jobs", sa.BigInteger(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_table(
        "schema_version",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("compatible_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_schema_version")),
    )
    op.create_table(
        "workers",
        sa.Column("id", types.Text(), nullable=False),
        sa.Column("queue", types.Text(), nullable=False),
        sa.Column("seen_at", types.UtcTime(), nullable=False),
        sa.Column("started_at", types.UtcTime(), nullable=False),
        sa.Column("info", types.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_seen_at"), "workers", ["seen_at"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("hash", types.Text(), nullable=False),
        sa.Column("scopes", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("revoked_at", types.UtcTime(), nullable=True),
        sa.Column("last_used_at", types.UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_project_id"), "api_keys", ["project_id"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("key_id", types.Id(), nullable=True),
        sa.Column("action", types.Text(), nullable=False),
        sa.Column("subject", types.Text(), nullable=False),
        sa.Column("request_id", types.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_log_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_project_id"), "audit_log", ["project_id"], unique=False)
    op.create_table(
        "blobs",
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("touched_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_blobs_project_id")),
        sa.PrimaryKeyConstraint("project_id", "sha256", name=op.f("pk_blobs")),
    )
    op.create_index(op.f("ix_blobs_touched_at"), "blobs", ["touched_at"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("state", types.Text(), nullable=False),
        sa.Column("format", types.Json(), nullable=False),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("tags", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('verifying', 'ready', 'rejected')", name=op.f("ck_datasets_state")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_datasets_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index(op.f("ix_datasets_project_id"), "datasets", ["project_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("key", types.Text(), nullable=False),
        sa.Column("route", types.Text(), nullable=False),
        sa.Column("request_hash", types.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("headers", types.Json(), nullable=True),
        sa.Column("body", types.Json(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_idempotency_keys_project_id")),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("state", types.Text(), nullable=False),
        sa.Column("inspection", types.Json(), nullable=True),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("tags", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('validating', 'ready', 'rejected')", name=op.f("ck_models_state")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_project_id"), "models", ["project_id"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("filename", types.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("state", types.Text(), nullable=False),
        sa.Column("mode", types.Text(), nullable=False),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("staging", types.Text(), nullable=True),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'verifying', 'completed', 'failed', 'expired')", name=op.f("ck_uploads_state")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_uploads_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"], unique=False)
    op.create_index(op.f("ix_uploads_project_id"), "uploads", ["project_id"], unique=False)
    op.create_table(
        "dataset_files",
        sa.Column("dataset_id", types.Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", types.Text(), nullable=False),
        sa.Column("upload_id", types.Id(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_files_dataset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_dataset_files_upload_id")),
        sa.PrimaryKeyConstraint("dataset_id", "position", name=op.f("pk_dataset_files")),
    )
    op.create_index(op.f("ix_dataset_files_upload_id"), "dataset_files", ["upload_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("kind", types.Text(), nullable=False),
        sa.Column("lane", types.Text(), nullable=False),
        sa.Column("name", types.Text(), nullable=True),
        sa.Column("state", types.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.BigInteger(), nullable=False),
        sa.Column("model_id", types.Id(), nullable=True),
        sa.Column("upload_id", types.Id(), nullable=True),
        sa.Column("parent_job_id", types.Id(), nullable=True),
        sa.Column("spec", types.Json(), nullable=False),
        sa.Column("data", types.Json(), nullable=False),
        sa.Column("tags", types.Json(), nullable=False),
        sa.Column("device", types.Json(), nullable=False),
        sa.Column("device_class", types.Text(), nullable=False),
        sa.Column("fallback_class", types.Text(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("max_attempts", sa.BigInteger(), nullable=False),
        sa.Column("run_after", types.UtcTime(), nullable=False),
        sa.Column("queue_deadline_at", types.UtcTime(), nullable=True),
        sa.Column("deadline_at", types.UtcTime(), nullable=True),
        sa.Column("run_seconds_left", sa.Double(), nullable=False),
        sa.Column("lease_token", types.Id(), nullable=True),
        sa.Column("lease_expires_at", types.UtcTime(), nullable=True),
        sa.Column("worker_id", types.Text(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcTime(), nullable=True),
        sa.Column("progress", types.Json(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False),
        sa.Column("log_sha256", types.Id(), nullable=True),
        sa.Column("checkpoint_sha256", types.Id(), nullable=True),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("result", types.Json(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("queued_at", types.UtcTime(), nullable=True),
        sa.Column("started_at", types.UtcTime(), nullable=True),
        sa.Column("finished_at", types.UtcTime(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('running', 'cancelling')) = (lease_token IS NOT NULL)", name=op.f("ck_jobs_lease")
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name=op.f("ck_jobs_finished")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_jobs_model_id")),
        sa.ForeignKeyConstraint(["parent_job_id"], ["jobs.id"], name=op.f("fk_jobs_parent_job_id")),
        sa.ForeignKeyConstraint(
            ["project_id", "checkpoint_sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_jobs_checkpoint"
        ),
        sa.ForeignKeyConstraint(["project_id", "log_sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_jobs_log"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id")),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_jobs_upload_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("lease_token", name=op.f("uq_jobs_lease_token")),
    )
    op.create_index("ix_jobs_claim", "jobs", ["state", "lane", "device_class", "priority", "id"], unique=False)
    op.create_index("ix_jobs_lease", "jobs", ["lease_expires_at"], unique=False)
    op.create_index("ix_jobs_listed", "jobs", ["project_id", "kind", "id"], unique=False)
    op.create_index(op.f("ix_jobs_model_id"), "jobs", ["model_id"], unique=False)
    op.create_index(op.f("ix_jobs_parent_job_id"), "jobs", ["parent_job_id"], unique=False)
    op.create_index(op.f("ix_jobs_project_id"), "jobs", ["project_id"], unique=False)
    op.create_index(op.f("ix_jobs_upload_id"), "jobs", ["upload_id"], unique=False)
    op.create_table(
        "model_files",
        sa.Column("model_id", types.Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", types.Text(), nullable=False),
        sa.Column("upload_id", types.Id(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_files_model_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_model_files_upload_id")),
        sa.PrimaryKeyConstraint("model_id", "position", name=op.f("pk_model_files")),
    )
    op.create_index(op.f("ix_model_files_upload_id"), "model_files", ["upload_id"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("project_id", types.Id(), nullable=False),
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", types.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_artifacts_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id", "sha256"], ["blobs.project_id", "blobs.sha256"], name="fk_artifacts_blob"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_artifacts_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    op.create_index("ix_artifacts_blob", "artifacts", ["project_id", "sha256"], unique=False)
    op.create_index(op.f("ix_artifacts_job_id"), "artifacts", ["job_id"], unique=False)
    op.create_table(
        "job_attempts",
        sa.Column("lease_token", types.Id(), nullable=False),
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", types.Text(), nullable=False),
        sa.Column("started_at", types.UtcTime(), nullable=False),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("outcome", types.Text(), nullable=True),
        sa.Column("detail", types.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_attempts_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("lease_token", name=op.f("pk_job_attempts")),
    )
    op.create_index(op.f("ix_job_attempts_job_id"), "job_attempts", ["job_id"], unique=False)
    op.create_table(
        "job_datasets",
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("role", types.Text(), nullable=False),
        sa.Column("dataset_id", types.Id(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_job_datasets_dataset_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_datasets_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "role", name=op.f("pk_job_datasets")),
    )
    op.create_index(op.f("ix_job_datasets_dataset_id"), "job_datasets", ["dataset_id"], unique=False)
    op.create_table(
        "job_events",
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", types.Text(), nullable=False),
        sa.Column("data", types.Json(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_job_events")),
    )
    op.create_table(
        "job_inputs",
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("name", types.Text(), nullable=False),
        sa.Column("sha256", types.Id(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_inputs_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_inputs")),
    )
    op.create_index(op.f("ix_job_inputs_sha256"), "job_inputs", ["sha256"], unique=False)
    op.create_table(
        "job_logs",
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_logs_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "start", name=op.f("pk_job_logs")),
    )
    op.create_table(
        "measurements",
        sa.Column("job_id", types.Id(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("subject", types.Text(), nullable=False),
        sa.Column("metric", types.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("unit", types.Text(), nullable=False),
        sa.Column("role", types.Text(), nullable=True),
        sa.Column("samples", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_measurements_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_measurements")),
    )
    op.create_index(op.f("ix_measurements_metric"), "measurements", ["metric"], unique=False)
    op.execute("INSERT INTO schema_version (version, compatible_from) VALUES (1, 1)")


def downgrade() -> None:
    op.drop_index(op.f("ix_measurements_metric"), table_name="measurements")
    op.drop_table("measurements")
    op.drop_table("job_logs")
    op.drop_index(op.f("ix_job_inputs_sha256"), table_name="job_inputs")
    op.drop_table("job_inputs")
    op.drop_table("job_events")
    op.drop_index(op.f("ix_job_datasets_dataset_id"), table_name="job_datasets")
    op.drop_table("job_datasets")
    op.drop_index(op.f("ix_job_attempts_job_id"), table_name="job_attempts")
    op.drop_table("job_attempts")
    op.drop_index(op.f("ix_artifacts_job_id"), table_name="artifacts")
    op.drop_index("ix_artifacts_blob", table_name="artifacts")
    op.drop_table("artifacts")
    op.drop_index(op.f("ix_model_files_upload_id"), table_name="model_files")
    op.drop_table("model_files")
    op.drop_index(op.f("ix_jobs_upload_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_project_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_parent_job_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_model_id"), table_name="jobs")
    op.drop_index("ix_jobs_listed", table_name="jobs")
    op.drop_index("ix_jobs_lease", table_name="jobs")
    op.drop_index("ix_jobs_claim", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_dataset_files_upload_id"), table_name="dataset_files")
    op.drop_table("dataset_files")
    op.drop_index(op.f("ix_uploads_project_id"), table_name="uploads")
    op.drop_index(op.f("ix_uploads_expires_at"), table_name="uploads")
    op.drop_table("uploads")
    op.drop_index(op.f("ix_models_project_id"), table_name="models")
    op.drop_table("models")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("ix_datasets_project_id"), table_name="datasets")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_blobs_touched_at"), table_name="blobs")
    op.drop_table("blobs")
    op.drop_index(op.f("ix_audit_log_project_id"), table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_index(op.f("ix_api_keys_project_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_workers_seen_at"), table_name="workers")
    op.drop_table("workers")
    op.drop_table("schema_version")
    op.drop_table("projects")
