"""API keys of the caller's project."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api import answers
from api.answers import Answer
from api.context import CallerDep, ReadDep, WriteDep, need
from api.idempotency import DOCUMENTED, created
from api.paging import Cursor, Limit
from modelpress import resources
from modelpress.resources import ApiKeyRequest
from store import keys
from store.database import now
from store.tables import ApiKey


def _admin(caller: CallerDep) -> None:
    need(caller, "admin")


router = APIRouter(prefix="/v1/api_keys", tags=["api keys"], dependencies=[Depends(_admin)])


@router.post("", status_code=201, response_model=resources.ApiKey, openapi_extra=DOCUMENTED)
def create_key(request: Request, body: ApiKeyRequest, access: WriteDep) -> Response:
    """Make a key. Its text is in this answer and nowhere else."""

    def make() -> tuple[dict[str, Any], str]:
        settings, project = access.context.settings, access.caller.project
        row, text = keys.issue(access.session, settings, project.id, body.name, body.scope, body.expires_at)
        access.audit("key.create", row.id)
        return answers.key(row) | {"key": text}, f"/v1/api_keys/{row.id}"

    return created(access, request, body, make)


@router.get("", response_model=resources.Page[resources.ApiKey])
def list_keys(access: ReadDep, limit: Limit = 20, cursor: Cursor = None) -> Response:
    """The project's keys, newest first, without their texts."""
    rows, following = access.scope.page(ApiKey, limit, cursor)
    return answers.page([answers.key(row) for row in rows], following)


@router.get("/{key_id}", response_model=resources.ApiKey)
def get_key(key_id: str, access: ReadDep) -> Response:
    """One key, without its text."""
    return Answer(answers.key(access.scope.get(ApiKey, key_id)))


@router.delete("/{key_id}", status_code=204)
def revoke_key(key_id: str, access: WriteDep) -> Response:
    """Revoke a key: it stops working at once, and stays in the list."""
    row = access.scope.get(ApiKey, key_id, lock=True)
    if row.revoked_at is None:
        row.revoked_at = now(access.session)
        access.audit("key.revoke", row.id)
    return Response(status_code=204)
