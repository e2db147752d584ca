"""The application: routes, errors and middleware put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from api import artifacts, catalogue, datasets, errors, events, health, jobs, keys, metrics, models, uploads
from api.context import Context
from api.limits import RateLimits
from api.middleware import Requests, SmallBodies
from api.paging import refuse_unknown_query
from api.watch import Watcher
from store.blobs import Blobs, open_blobs
from store.database import Database
from store.settings import Settings

_DESCRIPTION = """Makes trained networks smaller and faster, and measures what it did.

Send a model as an upload, name a recipe, get artifacts. Errors are RFC 9457 problems with a stable `code` and a
`hint`. Every creating POST takes an `Idempotency-Key`. Lists go by `limit` and `cursor`, newest first.
"""


_PROBLEM = {
    "description": "A problem, RFC 9457",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def create_app(
    settings: Settings, *, database: Database | None = None, blobs: Blobs | None = None, sandbox: str = "unknown"
) -> FastAPI:
    """The API on these settings.

    Args:
        database: shared with whoever else lives in the process; with none, one without rings is opened.
        blobs: the same.
        sandbox: how well this installation closes in its computations, for `/readyz`.
    """
    database = database or Database(settings.database_url)
    context = Context(
        settings=settings,
        database=database,
        blobs=blobs or open_blobs(settings),
        watcher=Watcher(database, settings.watch_seconds),
        rates=RateLimits(settings.requests_per_minute),
        sandbox=sandbox,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.watcher.start()
        yield
        await context.watcher.stop()

    app = FastAPI(
        title="ModelPress",
        version=health.service_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_query)],
        redirect_slashes=False,
        responses={422: _PROBLEM, "default": _PROBLEM},
    )
    app.state.context = context
    app.state.registry = metrics.registry(database, settings)
    errors.install(app)
    for part in (health, metrics, uploads, models, datasets, jobs, events, artifacts, catalogue, keys):
        app.include_router(part.router)
    app.add_middleware(SmallBodies, most_bytes=settings.max_body_bytes)
    app.add_middleware(Requests, registry=app.state.registry)
    return app
