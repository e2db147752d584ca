"""Problems as answers: RFC 9457 for everything that goes wrong, whoever noticed it."""

import re
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from modelpress.problem import JsonInvalid, MediaTypeUnsupported, Problem, ProblemError, RequestInvalid, Unavailable
from modelpress.validation import problems_of
from store.problems import RangeUnsatisfiable

log = structlog.get_logger(__name__)

DOCUMENTATION = "urn:modelpress:problem:"
"""Before the code, the `type` of a problem."""

_RETRY_S = 2


def problem_response(request: Request, error: ProblemError) -> Response:
    headers = {}
    wait = getattr(error, "retry_after", _RETRY_S if error.status == 503 else None)
    if wait is not None:
        headers["Retry-After"] = str(max(1, round(wait)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RangeUnsatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    found = error.problem(instance=request.url.path, request_id=getattr(request.state, "request_id", None))
    return render(found, headers)


def render(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    if problem.type == "about:blank":
        problem.type = DOCUMENTATION + problem.code
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, problem.status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(PoolTimeout, _on_database)


def _on_problem(request: Request, error: Any) -> Response:
    if error.status >= 500:
        log.warning("problem", code=error.code, detail=error.detail)
    return problem_response(request, error)


def _on_validation(request: Request, error: Any) -> Response:
    if unread := _unread(request, error.errors()):
        return problem_response(request, unread)
    errors = problems_of(error.errors())
    for each in errors:
        each.pointer = each.pointer.removeprefix("/body") or "/"
    detail = "; ".join(f"{each.pointer}: {each.detail}" for each in errors[:3])
    return problem_response(request, RequestInvalid(detail, errors=errors))


def _unread(request: Request, found: Sequence[Any]) -> ProblemError | None:
    """Where the body as a whole could not be read: it is not JSON, or was not said to be."""
    broken = next((item for item in found if item["type"] == "json_invalid"), None)
    if broken:
        return JsonInvalid(f"{broken['ctx']['error']} at byte {broken['loc'][-1]}")
    kind = request.headers.get("content-type", "")
    whole = any(item["loc"] == ("body",) and item["type"] != "missing" for item in found)
    if whole and not _JSON.fullmatch(kind.partition(";")[0].strip()):
        return MediaTypeUnsupported(
            f"the body came as {kind or 'nothing in particular'}", hint="Send `Content-Type: application/json`."
        )
    return None


_JSON = re.compile(r"application/(.+\+)?json", re.IGNORECASE)

_BY_STATUS = {
    400: ("bad_request", "The request can't be read"),
    404: ("not_found", "There is nothing at this address"),
    405: ("method_not_allowed", "This address does not take this method"),
    415: ("unsupported_media_type", "This address does not take this kind of content"),
}


def _on_http(request: Request, error: Any) -> Response:
    """What the framework itself refuses."""
    code, title = _BY_STATUS.get(error.status_code, (f"http_{error.status_code}", "The request was refused"))
    request_id = getattr(request.state, "request_id", None)
    detail = "" if error.status_code in (404, 405) else str(error.detail)
    found = Problem(
        title=title,
        status=error.status_code,
        code=code,
        detail=detail,
        instance=request.url.path,
        request_id=request_id,
    )
    return render(found, dict(error.headers or {}))


def _on_database(request: Request, error: Any) -> Response:
    """The database is away or too busy: nothing was written. Anything else it says is a fault of ours."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        log.warning("database_unavailable", error=type(error).__name__)
        return problem_response(request, Unavailable("the database can't be reached or is too busy"))
    return fault_response(request, error)


def fault_response(request: Request, error: Exception) -> Response:
    """A fault of ours. The trace goes to the log under the request's id, never to the client."""
    log.error("unexpected_error", path=request.url.path, exc_info=error)
    return problem_response(request, ProblemError(hint="Quote the request id when you report this."))
