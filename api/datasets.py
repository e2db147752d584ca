"""Data sets: made of uploads, with how they are read."""

from fastapi import APIRouter, Request, Response

from api import answers
from api.answers import Answer
from api.context import Access, ReadDep, WriteDep
from api.idempotency import DOCUMENTED, created
from api.paging import Cursor, Limit
from modelpress import resources
from modelpress.resources import DatasetRequest
from store import datasets, jobs
from store.tables import Dataset

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


def _shown(access: Access, row: Dataset) -> dict[str, object]:
    return answers.dataset(row, jobs.dataset_files(access.session, row.id))


@router.post("", status_code=201, response_model=resources.Dataset, openapi_extra=DOCUMENTED)
def create_dataset(request: Request, body: DatasetRequest, access: WriteDep) -> Response:
    """Make a data set of uploads, in order. It is `ready` once their bytes are verified; a job opens it first."""

    def make() -> tuple[dict[str, object], str]:
        row = datasets.create(access.scope, body)
        return _shown(access, row), f"/v1/datasets/{row.id}"

    return created(access, request, body, make)


@router.get("", response_model=resources.Page[resources.Dataset])
def list_datasets(access: ReadDep, limit: Limit = 20, cursor: Cursor = None) -> Response:
    """Data sets, newest first."""
    rows, following = access.scope.page(Dataset, limit, cursor)
    return answers.page([_shown(access, row) for row in rows], following)


@router.get("/{dataset_id}", response_model=resources.Dataset)
def get_dataset(dataset_id: str, access: ReadDep) -> Response:
    """One data set."""
    return Answer(_shown(access, access.scope.get(Dataset, dataset_id)))


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, access: WriteDep) -> Response:
    """Delete a data set. Running jobs go on, jobs that still wait for it are cancelled, results stay."""
    datasets.delete(access.scope, dataset_id)
    access.audit("dataset.delete", dataset_id)
    return Response(status_code=204)
