"""Models: made of uploads, inspected, ready."""

from fastapi import APIRouter, Request, Response

from api import answers
from api.answers import Answer
from api.context import Access, ReadDep, WriteDep
from api.idempotency import DOCUMENTED, created
from api.paging import Cursor, Limit
from modelpress import resources
from modelpress.resources import ModelRequest
from store import jobs, models
from store.tables import Model

router = APIRouter(prefix="/v1/models", tags=["models"])


def _shown(access: Access, row: Model, *, full: bool = True) -> dict[str, object]:
    return answers.model(row, jobs.model_files(access.session, row.id), full=full)


@router.post("", status_code=201, response_model=resources.Model, openapi_extra=DOCUMENTED)
def create_model(request: Request, body: ModelRequest, access: WriteDep) -> Response:
    """Make a model of one upload, or of several where it has external data. It is looked at before it is `ready`;
    jobs may be created meanwhile and wait."""

    def make() -> tuple[dict[str, object], str]:
        row = models.create(access.scope, access.context.settings, body)
        return _shown(access, row), f"/v1/models/{row.id}"

    return created(access, request, body, make)


@router.get("", response_model=resources.Page[resources.Model])
def list_models(access: ReadDep, limit: Limit = 20, cursor: Cursor = None) -> Response:
    """Models, newest first, without their inspections."""
    rows, following = access.scope.page(Model, limit, cursor)
    return answers.page([_shown(access, row, full=False) for row in rows], following)


@router.get("/{model_id}", response_model=resources.Model)
def get_model(model_id: str, access: ReadDep) -> Response:
    """One model: with its inspection once it is `ready`, with the reason where it was `rejected`."""
    return Answer(_shown(access, access.scope.get(Model, model_id)))


@router.delete("/{model_id}", status_code=204)
def delete_model(model_id: str, access: WriteDep) -> Response:
    """Delete a model. Running jobs go on, jobs that still wait for it are cancelled, results stay."""
    models.delete(access.scope, model_id)
    access.audit("model.delete", model_id)
    return Response(status_code=204)
