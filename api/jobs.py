"""Jobs: submit, list, watch, cancel, run again."""

import re
import time
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy import ColumnElement

from api import answers
from api.answers import Answer
from api.catalogue import named_recipe
from api.context import CallerDep, ContextDep, ReadDep, WriteDep, in_scope
from api.idempotency import DOCUMENTED, created
from api.paging import Cursor, Limit
from api.watch import glimpse
from modelpress import resources
from modelpress.problem import FieldProblem, RequestInvalid
from modelpress.resources import STATES, TERMINAL, JobRequest
from modelpress.steps import Step
from store import jobs
from store.scope import Scope
from store.tables import Artifact, Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_WAIT = re.compile(r"\bwait\s*=\s*(\d+)")


def _steps(body: JobRequest) -> list[Step]:
    return named_recipe(body.recipe) if isinstance(body.recipe, str) else list(body.recipe)


@router.post(
    "",
    status_code=201,
    response_model=resources.Job,
    responses={200: {"model": resources.Estimate, "description": "Answer of a dry run"}},
    openapi_extra=DOCUMENTED,
)
def create_job(
    request: Request,
    body: JobRequest,
    access: WriteDep,
    dry_run: Annotated[bool, Query(description="Check everything and estimate; create nothing.")] = False,
) -> Response:
    """Queue a job. Where its model or data are still being looked at, it waits for them. A recipe that can't fit the
    model is refused here, with a pointer to each wrong field."""
    settings = access.context.settings
    if dry_run:
        return Answer(_estimate(access.scope, body))

    def make() -> tuple[dict[str, object], str]:
        row = jobs.create(access.scope, settings, body, _steps(body))
        return answers.job(row, settings.public_url), f"/v1/jobs/{row.id}"

    return created(access, request, body, make)


def _estimate(scope: Scope, body: JobRequest) -> dict[str, object]:
    drafted = jobs.draft(scope, body, _steps(body))
    notes = ["The model or its data are still being looked at: the job would wait."] if drafted.is_waiting else []
    return {
        "valid": True,
        "recipe": [step.model_dump(mode="json") for step in drafted.spec.recipe],
        "seconds": jobs.expected_seconds(scope, drafted),
        "queue_position": jobs.queue_position(scope.session, body.device, body.priority),
        "notes": notes,
    }


@router.get("", response_model=resources.Page[resources.Job])
def list_jobs(
    access: ReadDep,
    state: Annotated[Literal[STATES] | None, Query(description="Only jobs in this state.")] = None,  # type: ignore[valid-type]
    kind: Annotated[
        Literal["compress", "inspect", "verify"], Query(description="The service's own jobs are others.")
    ] = "compress",
    model_id: Annotated[str | None, Query(max_length=64)] = None,
    parent_job_id: Annotated[str | None, Query(max_length=64)] = None,
    tag: Annotated[list[str] | None, Query(description="`key:value`; several must all fit.", max_length=8)] = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """Jobs, newest first, without their results."""
    wanted: list[ColumnElement[bool]] = [Job.kind == kind]
    wanted += [Job.state == state] if state else []
    wanted += [Job.model_id == model_id] if model_id else []
    wanted += [Job.parent_job_id == parent_job_id] if parent_job_id else []
    wanted += [Job.created_at > created_after] if created_after else []
    wanted += [Job.created_at < created_before] if created_before else []
    for each in tag or []:
        name, colon, value = each.partition(":")
        if not colon:
            detail = f"{each!r} is not `key:value`"
            raise RequestInvalid(detail, errors=[FieldProblem(pointer="/query/tag", code="bad_tag", detail=detail)])
        wanted.append(Job.tags[name].as_string() == value)
    rows, following = access.scope.page(Job, limit, cursor, *wanted)
    public_url = access.context.settings.public_url
    return answers.page([answers.job(row, public_url, full=False) for row in rows], following)


@router.get("/{job_id}", response_model=resources.Job)
async def get_job(
    job_id: str,
    context: ContextDep,
    caller: CallerDep,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: answer when the job is over, or after N seconds.")
    ] = None,
) -> Response:
    """One job, with its result once it succeeded."""
    job = await in_scope(context, caller, lambda scope: scope.get(Job, job_id))
    asked = _WAIT.search(prefer or "")
    headers = {}
    if asked:
        until = time.monotonic() + min(float(asked[1]), context.settings.wait_seconds)
        headers["Preference-Applied"] = "wait"
        while job.state not in TERMINAL and (left := until - time.monotonic()) > 0:
            if await context.watcher.changed(job_id, glimpse(job), left):
                job = await in_scope(context, caller, lambda scope: scope.get(Job, job_id))
    return Answer(answers.job(job, context.settings.public_url), 200, headers)


@router.post("/{job_id}/cancel", status_code=202, response_model=resources.Job)
def cancel_job(job_id: str, access: WriteDep) -> Response:
    """Stop a job: 202 while it is stopping. Cancelling again is harmless; a job that is over stays as it is (200)."""
    job = jobs.cancel(access.scope, job_id)
    status = 200 if job.state in TERMINAL else 202
    return Answer(answers.job(job, access.context.settings.public_url), status)


@router.post("/{job_id}/rerun", status_code=201, response_model=resources.Job, openapi_extra=DOCUMENTED)
def rerun_job(request: Request, job_id: str, access: WriteDep) -> Response:
    """A new job that asks for the same as this one, which it names as `parent_job_id`."""
    settings = access.context.settings

    def make() -> tuple[dict[str, object], str]:
        row = jobs.rerun(access.scope, settings, job_id)
        return answers.job(row, settings.public_url), f"/v1/jobs/{row.id}"

    return created(access, request, None, make)


@router.get("/{job_id}/artifacts", response_model=resources.Page[resources.ArtifactInfo])
def list_artifacts(job_id: str, access: ReadDep, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """What the job made."""
    job = access.scope.get(Job, job_id)
    rows, following = access.scope.page(Artifact, limit, cursor, Artifact.job_id == job.id)
    return answers.page([answers.artifact(row) for row in rows], following)
