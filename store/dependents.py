"""What the end of one thing means for those that waited for it.

An upload's verification ends: models and data sets made of it go on or are rejected. A model's inspection ends:
jobs that waited are checked against it and queued, or fail. Whoever creates a waiting thing locks what it waits
for (`FOR SHARE`) and whoever ends a thing locks it too, so nobody is forgotten between the two.
"""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelpress.inspection import Inspection
from modelpress.problem import ModelError, Problem, ProblemError
from modelpress.recipe import parse_steps
from modelpress.selection import check_recipe, check_task
from modelpress.task import task_adapter
from store import states
from store.problems import DatasetRejected, ModelRejected
from store.states import stored
from store.tables import Dataset, DatasetFile, Job, JobDataset, Model, ModelFile, Upload


def after(session: Session, job: Job) -> None:
    """Called once, in the transaction in which `job` reached a terminal state."""
    if job.kind == "verify" and job.upload_id:
        upload = session.get_one(Upload, job.upload_id, with_for_update=True, populate_existing=True)
        upload_settled(session, upload, None if job.state == "succeeded" else _why(job))
    elif job.kind == "inspect" and job.model_id:
        model = session.get_one(Model, job.model_id, with_for_update=True, populate_existing=True)
        if job.state == "succeeded":
            _inspected(session, model, job.result or {})
        else:
            reject_model(session, model, _why(job))


def _why(job: Job) -> dict[str, Any]:
    return job.error or stored(
        Problem(title="Cancelled", status=409, code="cancelled", detail=f"{job.id} was cancelled", category="cancelled")
    )


# -- uploads ------------------------------------------------------------------------------------------------


def upload_settled(session: Session, upload: Upload, error: dict[str, Any] | None) -> None:
    """The upload's bytes were verified, or (`error`) they were not."""
    upload.state, upload.error = ("failed", error) if error else ("completed", None)
    session.flush()
    uses = select(ModelFile.model_id).where(ModelFile.upload_id == upload.id)
    models = select(Model).where(Model.id.in_(uses), Model.state == "validating").order_by(Model.id)
    for model in session.scalars(models.with_for_update()).all():
        if error:
            reject_model(session, model, error)
        elif not _missing(session, ModelFile.model_id == model.id, ModelFile.upload_id == Upload.id):
            states.move(session, "queued", Job.model_id == model.id, Job.kind == "inspect", Job.state == "waiting")
    uses = select(DatasetFile.dataset_id).where(DatasetFile.upload_id == upload.id)
    datasets = select(Dataset).where(Dataset.id.in_(uses), Dataset.state == "verifying").order_by(Dataset.id)
    for dataset in session.scalars(datasets.with_for_update()).all():
        if error:
            reject_dataset(session, dataset, error)
        elif not _missing(session, DatasetFile.dataset_id == dataset.id, DatasetFile.upload_id == Upload.id):
            dataset.state = "ready"
            session.flush()
            waiting = select(JobDataset.job_id).where(JobDataset.dataset_id == dataset.id)
            for job in _waiting(session, Job.id.in_(waiting)):
                release(session, job)


def _missing(session: Session, *where: Any) -> int:
    """How many of the files are not verified yet."""
    return session.scalars(select(func.count()).select_from(Upload).where(*where, Upload.state != "completed")).one()


# -- models and data sets -----------------------------------------------------------------------------------


def _inspected(session: Session, model: Model, result: dict[str, Any]) -> None:
    """The file was looked at by a process we don't trust: what it says is checked before it is believed."""
    try:
        inspection = Inspection.model_validate(result.get("inspection"))
    except ValidationError:
        problem = ModelError("looking at the model gave no usable description of it").problem()
        return reject_model(session, model, stored(problem))
    model.state, model.inspection, model.error = "ready", inspection.model_dump(mode="json"), None
    session.flush()
    for job in _waiting(session, Job.model_id == model.id, Job.kind == "compress"):
        release(session, job)


def reject_model(session: Session, model: Model, error: dict[str, Any]) -> None:
    model.state, model.error = "rejected", error
    session.flush()
    for job in _waiting(session, Job.model_id == model.id):
        give_up(session, job, error if job.kind == "inspect" else _because(ModelRejected, model.id, error))


def reject_dataset(session: Session, dataset: Dataset, error: dict[str, Any]) -> None:
    dataset.state, dataset.error = "rejected", error
    session.flush()
    waiting = select(JobDataset.job_id).where(JobDataset.dataset_id == dataset.id)
    for job in _waiting(session, Job.id.in_(waiting)):
        give_up(session, job, _because(DatasetRejected, dataset.id, error))


def _because(kind: type[ProblemError], subject: str, error: dict[str, Any]) -> dict[str, Any]:
    return stored(kind(f"{subject}: {error.get('detail') or error.get('title')}", hint=error.get("hint", "")).problem())


# -- jobs ---------------------------------------------------------------------------------------------------


def release(session: Session, job: Job) -> None:
    """Queue a waiting job, its row locked, if nothing is left to wait for; fail it if its recipe can't fit."""
    model = session.get_one(Model, job.model_id) if job.model_id else None
    if model is None or model.state != "ready":
        return
    unready = select(func.count()).select_from(Dataset).join(JobDataset, JobDataset.dataset_id == Dataset.id)
    if session.scalars(unready.where(JobDataset.job_id == job.id, Dataset.state != "ready")).one():
        return
    try:
        inspection = Inspection.model_validate(model.inspection)
        check_recipe(parse_steps(job.spec["recipe"]), inspection)
        check_task(task_adapter.validate_python(job.spec["task"]), inspection)
    except ProblemError as error:
        give_up(session, job, stored(error.problem()))
        return
    states.move(session, "queued", Job.id == job.id)


def give_up(session: Session, job: Job, error: dict[str, Any]) -> None:
    states.move(session, "failed", Job.id == job.id, detail=error.get("detail", ""), error=error)


def _waiting(session: Session, *where: Any) -> list[Job]:
    statement = select(Job).where(Job.state == "waiting", *where).order_by(Job.id).with_for_update()
    return list(session.scalars(statement, execution_options={"populate_existing": True}))
