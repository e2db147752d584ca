"""One effect a key: a creating POST that comes again is answered as it was the first time.

The key's row is written in the transaction of what it creates. A twin that comes meanwhile waits for that
transaction at the unique index, then replays; a request that fails leaves no row and may be tried again.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from pydantic_core import from_json, to_json
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from api.answers import Answer
from api.context import Access
from modelpress.problem import FieldProblem, RequestInvalid
from store.database import now
from store.problems import IdempotencyInFlight, IdempotencyKeyReused
from store.tables import IdempotencyKey

HEADER = "Idempotency-Key"
_MOST = 255

DOCUMENTED = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": _MOST},
            "description": "Made once a call and kept over its retries: the same key and body are answered the same.",
        }
    ]
}
"""What routes that use `created` say of it in the OpenAPI document: `openapi_extra`."""


def created(
    access: Access, request: Request, body: BaseModel | None, make: Callable[[], tuple[dict[str, Any], str]]
) -> Response:
    """201 with what `make` made and its address, or the same answer again. Raises what `make` raises."""
    key = request.headers.get(HEADER)
    if key is None:
        answer, location = make()
        return Answer(answer, 201, {"Location": location})
    _check(key)
    row = _claim(access, key, request, body)
    if row.status is not None:
        return Answer(row.body, row.status, {**(row.headers or {}), "Idempotent-Replayed": "true"})
    answer, location = make()
    row.status, row.headers, row.body = 201, {"Location": location}, from_json(to_json(answer))
    access.session.flush()
    return Answer(answer, 201, {"Location": location})


def _check(key: str) -> None:
    if not 0 < len(key) <= _MOST or not key.isascii() or not key.isprintable():
        detail = f"1 to {_MOST} printable ASCII characters are needed"
        errors = [FieldProblem(pointer=f"/header/{HEADER}", code="bad_key", detail=detail)]
        raise RequestInvalid(detail, errors=errors)


def _claim(access: Access, key: str, request: Request, body: BaseModel | None) -> IdempotencyKey:
    """The key's row: new, or an earlier one of the very same request."""
    session, project_id = access.session, access.caller.project.id
    route = f"{request.method} {request.url.path}"
    asked = hashlib.sha256(body.model_dump_json().encode() if body else b"").hexdigest()
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {"project_id": project_id, "key": key, "route": route, "request_hash": asked, "created_at": now(session)}
    try:
        session.execute(insert(IdempotencyKey).values(values).on_conflict_do_nothing())
    except OperationalError as error:  # the twin took longer than the lock's time-out
        raise IdempotencyInFlight("the same key is being worked on; ask again in a moment") from error
    row = session.get_one(IdempotencyKey, (project_id, key), populate_existing=True)
    if (row.route, row.request_hash) != (route, asked):
        raise IdempotencyKeyReused(
            f"{key!r} was used for {row.route} with another body"
            if row.route == route
            else f"{key!r} was used for {row.route}",
            hint="Make a new key for every new request; keep it over retries of the same one.",
        )
    return row
