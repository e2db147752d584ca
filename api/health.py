"""Alive, ready, version."""

from importlib.metadata import PackageNotFoundError, version

import structlog
from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from api.answers import Answer
from api.context import Context, ContextDep
from modelpress import resources
from modelpress.base import CONTRACT
from modelpress.problem import ProblemError
from store import migrate

router = APIRouter(tags=["health"])
log = structlog.get_logger(__name__)

_SHOWN = ("torch", "onnx", "onnxruntime", "fastapi", "sqlalchemy", "celery")


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Something that is needed is away"}})
def readyz(context: ContextDep) -> Response:
    """Database and blob store answer, and the tables are ours to use."""
    checks = {"database": _database(context), "blobs": _blobs(context)}
    is_ready = all(said == "ok" for said in checks.values())
    body = {"status": "ready" if is_ready else "not ready", "checks": checks, "sandbox": context.sandbox}
    return Answer(body, 200 if is_ready else 503)


def _database(context: Context) -> str:
    try:
        with context.database.read() as session:
            migrate.check(session)
    except ProblemError as error:
        return error.detail
    except SQLAlchemyError as error:
        log.warning("not_ready", part="database", error=repr(error))
        return "away"
    return "ok"


def _blobs(context: Context) -> str:
    try:
        context.blobs.size("readyz")
    except Exception as error:  # whatever the store's client raises: it is not there
        log.warning("not_ready", part="blobs", error=repr(error))
        return "away"
    return "ok"


@router.get("/v1/version", response_model=resources.Version)
def get_version() -> Response:
    """Version of the service, of the contract, and of what it computes with."""
    return Answer(
        {"version": service_version(), "contract": CONTRACT, "versions": {name: _version(name) for name in _SHOWN}}
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def service_version() -> str:
    return _version("modelpress-server")
