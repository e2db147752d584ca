"""Jobs as their owner sees them: created, cancelled, run again. What workers do to them is in `leases`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelpress.base import CONTRACT
from modelpress.inspection import Inspection
from modelpress.job import Job as JobSpec
from modelpress.job import JobData
from modelpress.problem import FieldProblem, RequestInvalid
from modelpress.resources import TERMINAL, JobRequest
from modelpress.selection import check_recipe, check_task
from modelpress.steps import Step
from store import dependents, states
from store.database import now
from store.ids import new_id
from store.problems import DatasetRejected, ModelRejected, QueueTimeout, QuotaExceeded
from store.rings import DEVICE, INSPECT
from store.scope import Scope
from store.settings import Settings
from store.tables import Dataset, DatasetFile, Job, JobDataset, JobInput, Model, ModelFile

DEVICES = {"auto": ["cuda", "cpu"], "cpu": ["cpu"], "cuda": ["cuda"]}
_ENDING = re.compile(r"(\.[a-z0-9]{1,8}){1,2}$")


@dataclass
class Draft:
    """A job about to be: everything was looked up and checked, nothing is written."""

    spec: JobSpec
    model: Model
    datasets: dict[str, Dataset]
    inputs: dict[str, ModelFile | DatasetFile]
    is_waiting: bool
    notes: list[str] = field(default_factory=list)


# -- creating -----------------------------------------------------------------------------------------------


def draft(scope: Scope, request: JobRequest, steps: Sequence[Step]) -> Draft:
    """Look up and check what a request names. Raises NotFound, RequestInvalid, RecipeInvalid or a Conflict.

    Model and data sets stay locked against change until the transaction ends, so that a job that has to wait for
    them is there when they are ready.
    """
    model = scope.get(Model, request.model_id, share=True)
    if model.state == "rejected":
        raise ModelRejected(f"{model.id} was rejected: {(model.error or {}).get('detail', '')}")
    if model.state == "ready":
        inspection = Inspection.model_validate(model.inspection)
        check_recipe(list(steps), inspection)
        check_task(request.task, inspection)
    datasets = {
        role: scope.get(Dataset, dataset_id, share=True)
        for role in ("train", "eval")
        if (dataset_id := getattr(request.data, role)) is not None
    }
    for dataset in datasets.values():
        if dataset.state == "rejected":
            raise DatasetRejected(f"{dataset.id} was rejected: {(dataset.error or {}).get('detail', '')}")
    _check_labels(request, datasets)
    inputs: dict[str, ModelFile | DatasetFile] = {file.path: file for file in model_files(scope.session, model.id)}
    data: dict[str, Any] = {"splits": request.data.splits}
    first = next(iter(inputs))
    for role, dataset in datasets.items():
        files = {_input_name(role, file, inputs): file for file in dataset_files(scope.session, dataset.id)}
        data[role] = dataset.format | {"files": list(files)}
        inputs |= files
    spec = JobSpec(
        id=new_id("job"),
        model=first,
        recipe=list(steps),  # type: ignore[arg-type]
        task=request.task,
        data=JobData.model_validate(data),
        target=request.target,
        budget=request.budget,
        measuring=request.measuring,
        seed=request.seed,
        device=DEVICES[request.device],  # type: ignore[arg-type]
    )
    waiting = model.state != "ready" or any(dataset.state != "ready" for dataset in datasets.values())
    return Draft(spec, model, datasets, inputs, waiting)


def create(scope: Scope, settings: Settings, request: JobRequest, steps: Sequence[Step]) -> Job:
    """Queue a job, or let it wait for its model and data. Raises what `draft` raises, or QuotaExceeded."""
    drafted = draft(scope, request, steps)
    _check_quota(scope, settings)
    job = _new(
        scope.session,
        settings,
        drafted.spec,
        scope.project.id,
        lane=DEVICE,
        state="waiting" if drafted.is_waiting else "queued",
        inputs=drafted.inputs,
        name=request.name,
        priority=request.priority,
        tags=request.tags,
        data=request.data.model_dump(mode="json"),
        model_id=drafted.model.id,
    )
    _remember_datasets(scope.session, job, {role: dataset.id for role, dataset in drafted.datasets.items()})
    return job


def create_service_job(
    session: Session,
    settings: Settings,
    kind: str,
    project_id: str,
    *,
    state: str = "queued",
    inputs: Sequence[ModelFile] = (),
    model_id: str | None = None,
    upload_id: str | None = None,
) -> Job:
    """A job of our own in the inspection lane: `inspect` a model, or `verify` an upload."""
    spec = JobSpec(
        id=new_id("job"),
        kind=kind,  # type: ignore[arg-type]
        model=inputs[0].path if inputs else "model.onnx",
        device=["cpu"],
    )
    spec.budget.run_seconds = spec.budget.no_progress_seconds = settings.inspect_seconds
    files: dict[str, ModelFile | DatasetFile] = {file.path: file for file in inputs}
    return _new(
        session,
        settings,
        spec,
        project_id,
        lane=INSPECT,
        state=state,
        inputs=files,
        model_id=model_id,
        upload_id=upload_id,
    )


def rerun(scope: Scope, settings: Settings, job_id: str) -> Job:
    """A new job that asks for the same as a `compress` job. Raises NotFound where model or data are deleted."""
    old = scope.get(Job, job_id)
    if old.kind != "compress" or old.model_id is None:
        raise RequestInvalid(f"{old.id} is a job of the service itself; only compress jobs run again")
    request = JobRequest.model_validate(
        {key: old.spec[key] for key in ("recipe", "task", "target", "budget", "measuring", "seed")}
        | {"model_id": old.model_id, "data": old.data, "name": old.name, "priority": old.priority, "tags": old.tags}
        | {"device": next(name for name, classes in DEVICES.items() if classes == old.device)}
    )
    assert isinstance(request.recipe, list)
    job = create(scope, settings, request, request.recipe)
    job.parent_job_id = old.id
    scope.session.flush()
    return job


def _new(
    session: Session,
    settings: Settings,
    spec: JobSpec,
    project_id: str,
    *,
    lane: str,
    state: str,
    inputs: dict[str, ModelFile | DatasetFile],
    name: str | None = None,
    priority: int = 0,
    tags: dict[str, str] | None = None,
    data: dict[str, Any] | None = None,
    model_id: str | None = None,
    upload_id: str | None = None,
) -> Job:
    moment, wait = now(session), spec.budget.queue_seconds
    job = Job(
        id=spec.id,
        project_id=project_id,
        kind=spec.kind,
        lane=lane,
        name=name,
        state=state,
        priority=priority,
        contract=CONTRACT,
        model_id=model_id,
        upload_id=upload_id,
        spec=spec.model_dump(mode="json"),
        data=data or {},
        tags=tags or {},
        device=list(spec.device),
        device_class=spec.device[0],
        fallback_class=spec.device[1] if len(spec.device) > 1 else None,
        attempt=0,
        max_attempts=settings.max_attempts,
        run_after=moment,
        queue_deadline_at=moment + timedelta(seconds=wait) if wait else None,
        run_seconds_left=spec.budget.run_seconds,
        progress={},
        log_bytes=0,
        created_at=moment,
        queued_at=moment if state == "queued" else None,
    )
    states.begin(session, job)
    session.add_all(
        JobInput(job_id=job.id, name=path, sha256=file.sha256, size_bytes=file.size_bytes)
        for path, file in inputs.items()
    )
    session.flush()
    return job


def _remember_datasets(session: Session, job: Job, dataset_ids: dict[str, str]) -> None:
    session.add_all(JobDataset(job_id=job.id, role=role, dataset_id=each) for role, each in dataset_ids.items())
    session.flush()


def model_files(session: Session, model_id: str) -> list[ModelFile]:
    return list(session.scalars(select(ModelFile).where(ModelFile.model_id == model_id).order_by(ModelFile.position)))


def dataset_files(session: Session, dataset_id: str) -> list[DatasetFile]:
    files = select(DatasetFile).where(DatasetFile.dataset_id == dataset_id)
    return list(session.scalars(files.order_by(DatasetFile.position)))


def _input_name(role: str, file: DatasetFile, taken: dict[str, Any]) -> str:
    """Our own name for a user's file, with its harmless ending: `train-0.npz`."""
    ending = _ENDING.search(file.path.lower())
    name = f"{role}-{file.position}{ending[0] if ending else ''}"
    while name in taken:
        name = f"data-{name}"
    return name


def _check_labels(request: JobRequest, datasets: dict[str, Dataset]) -> None:
    """A task that needs labels needs data that have some."""
    if request.task.type == "match":
        return
    errors = []
    if not datasets:
        errors.append(("/data/train", "missing", f"{request.task.type} needs a data set with labels"))
    for role, dataset in datasets.items():
        if dataset.format.get("format") == "npz" and not dataset.format.get("labels"):
            errors.append((f"/data/{role}", "no_labels", f"{dataset.id} names no array of labels"))
    if errors:
        problems = [FieldProblem(pointer=pointer, code=code, detail=detail) for pointer, code, detail in errors]
        hint = "Say `labels` when creating the data set, or use the task `match`, which needs none."
        raise RequestInvalid("; ".join(problem.detail for problem in problems), hint=hint, errors=problems)


def _check_quota(scope: Scope, settings: Settings) -> None:
    most = scope.project.max_queued_jobs or settings.max_queued_jobs
    pending = scope.select(Job, Job.kind == "compress", Job.state.in_(("waiting", "queued")))
    count = scope.session.scalars(select(func.count()).select_from(pending.subquery())).one()
    if count >= most:
        raise QuotaExceeded(
            f"{count} jobs are waiting already, as many as this project may have", hint="Try again later."
        )


# -- estimating ---------------------------------------------------------------------------------------------


def queue_position(session: Session, device: str, priority: int) -> int:
    """How many jobs would go first."""
    first = select(func.count(Job.id)).where(Job.state == "queued", Job.lane == DEVICE, Job.priority >= priority)
    return session.scalars(first.where(Job.device_class == DEVICES[device][0])).one()


def expected_seconds(scope: Scope, drafted: Draft) -> float | None:
    """Median time of the project's last runs of the same techniques on the same model; None without any."""
    done = scope.select(Job, Job.model_id == drafted.model.id, Job.kind == "compress", Job.state == "succeeded")
    asked = [step.technique for step in drafted.spec.recipe]
    times = sorted(
        (job.finished_at - job.started_at).total_seconds()
        for job in scope.session.scalars(done.order_by(Job.id.desc()).limit(20))
        if job.started_at and job.finished_at and [step["technique"] for step in job.spec["recipe"]] == asked
    )
    return times[len(times) // 2] if times else None


# -- ending -------------------------------------------------------------------------------------------------


def cancel(scope: Scope, job_id: str) -> Job:
    """Ask for the end of a job; at once where nobody runs it. One that is over stays as it is."""
    job = scope.get(Job, job_id, lock=True)
    if job.state in TERMINAL or job.state == "cancelling":
        return job
    to = "cancelling" if job.state == "running" else "cancelled"
    moved = states.move(scope.session, to, Job.id == job.id, cancel_requested_at=now(scope.session))
    assert moved is not None  # the row is locked
    if to == "cancelled":
        dependents.after(scope.session, moved)
    return moved


def time_out_queued(session: Session) -> list[str]:
    """Fail jobs that waited for a device longer than their budget allows; returns their ids."""
    late = select(Job.id).where(Job.state.in_(("waiting", "queued")), Job.queue_deadline_at < now(session))
    problem = QueueTimeout("no device came free within `budget.queue_seconds`", hint="Allow more, or another device.")
    error = states.stored(problem.problem())
    ids = list(session.scalars(late.with_for_update(skip_locked=True).limit(100)))
    for job_id in ids:
        states.move(session, "failed", Job.id == job_id, detail=problem.detail, error=error)
    return ids
