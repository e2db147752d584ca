"""Data sets: made of uploads, ready once their bytes are verified; only a job's closed-in process opens them."""

from modelpress.data import DatasetFormat
from modelpress.resources import DatasetRequest
from store import jobs
from store.database import now
from store.ids import new_id
from store.models import usable_upload
from store.scope import Scope
from store.tables import Dataset, DatasetFile, Job, JobDataset


def create(scope: Scope, request: DatasetRequest) -> Dataset:
    uploads = [usable_upload(scope, each, f"/upload_ids/{i}") for i, each in enumerate(request.upload_ids)]
    session = scope.session
    dataset = Dataset(
        id=new_id("dst"),
        project_id=scope.project.id,
        name=request.name,
        state="ready" if all(upload.state == "completed" for upload in uploads) else "verifying",
        format=request.model_dump(mode="json", include=set(DatasetFormat.model_fields)),
        tags=request.tags,
        created_at=now(session),
    )
    session.add(dataset)
    session.flush()
    session.add_all(
        DatasetFile(
            dataset_id=dataset.id,
            position=position,
            path=upload.filename,
            upload_id=upload.id,
            sha256=upload.sha256,
            size_bytes=upload.size_bytes,
        )
        for position, upload in enumerate(uploads)
    )
    session.flush()
    return dataset


def delete(scope: Scope, dataset_id: str) -> None:
    """Hide a data set. Jobs that run go on; jobs that still wait for it are over."""
    dataset = scope.get(Dataset, dataset_id, lock=True)
    dataset.deleted_at = now(scope.session)
    scope.session.flush()
    uses = scope.select(Job, Job.id == JobDataset.job_id, JobDataset.dataset_id == dataset.id, Job.state == "waiting")
    for job in scope.session.scalars(uses).unique().all():
        jobs.cancel(scope, job.id)
