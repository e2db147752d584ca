"""What routes share: who asks, a session for as long as the request, and the commit before the answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from api.limits import RateLimits
from api.watch import Watcher
from modelpress.problem import Forbidden, Unauthorised
from store import keys, projects
from store.blobs import Blobs
from store.database import Database
from store.keys import Caller
from store.scope import Scope
from store.settings import Settings

T = TypeVar("T")


@dataclass
class Context:
    """The application's own things."""

    settings: Settings
    database: Database
    blobs: Blobs
    watcher: Watcher
    rates: RateLimits
    sandbox: str


@dataclass
class Access:
    """One request's view: its project's rows, in one transaction."""

    scope: Scope
    caller: Caller
    context: Context
    request_id: str | None

    @property
    def session(self) -> Session:
        return self.scope.session

    def audit(self, action: str, subject: str) -> None:
        projects.audit(self.session, self.caller.project.id, self.caller.key_id, action, subject, self.request_id)


def get_context(request: Request) -> Context:
    return request.app.state.context


ContextDep = Annotated[Context, Depends(get_context)]

bearer = HTTPBearer(auto_error=False, description="An API key, `mp_...`.")


def get_caller(
    request: Request,
    context: ContextDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """The key's owner, allowed to ask this: reading needs `read`, everything else `write`."""
    if credentials is None:
        raise Unauthorised("no API key came", hint="Send `Authorization: Bearer mp_...`.")
    with context.database.read() as session:
        caller = keys.check(session, context.settings, credentials.credentials)
    context.rates.spend(caller.key_id)
    need(caller, "read" if request.method in ("GET", "HEAD") else "write")
    if caller.is_use_unnoted:
        with context.database.write() as session:
            keys.note_use(session, caller.key_id)
    return caller


def need(caller: Caller, scope: str) -> None:
    if scope not in caller.scopes:
        raise Forbidden(f"this needs the scope `{scope}`; the key has {', '.join(sorted(caller.scopes))}")


CallerDep = Annotated[Caller, Depends(get_caller)]


def _access(request: Request, context: Context, caller: Caller, session: Session) -> Access:
    return Access(Scope(session, caller.project), caller, context, getattr(request.state, "request_id", None))


def reading(request: Request, context: ContextDep, caller: CallerDep) -> Iterator[Access]:
    with context.database.read() as session:
        yield _access(request, context, caller, session)


def writing(request: Request, context: ContextDep, caller: CallerDep) -> Iterator[Access]:
    """Committed before the answer goes out, so that a 2xx is a promise."""
    with context.database.write() as session:
        yield _access(request, context, caller, session)


ReadDep = Annotated[Access, Depends(reading, scope="function")]
WriteDep = Annotated[Access, Depends(writing, scope="function")]


async def in_scope(context: Context, caller: Caller, look: Callable[[Scope], T]) -> T:
    """A short look at the database from an asynchronous route, which holds no session while it waits."""

    def run() -> T:
        with context.database.read() as session:
            return look(Scope(session, caller.project))

    return await run_in_threadpool(run)
