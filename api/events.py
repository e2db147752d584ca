"""What a job says: its events as a page or as a stream, and its log."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from api import answers
from api.context import CallerDep, Context, ContextDep, ReadDep, in_scope
from api.watch import Glimpse, glimpse
from modelpress import resources
from modelpress.problem import FieldProblem, RequestInvalid
from modelpress.resources import TERMINAL
from store import events, logs
from store.database import now
from store.keys import Caller
from store.scope import Scope
from store.tables import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_AT_ONCE = 200
_STREAM = "text/event-stream"


@router.get(
    "/{job_id}/events",
    response_model=resources.Page[resources.Event],
    responses={200: {"content": {_STREAM: {"schema": {"type": "string"}}}, "description": "A page, or a stream"}},
)
async def list_events(
    request: Request,
    job_id: str,
    context: ContextDep,
    caller: CallerDep,
    after: Annotated[int, Query(ge=0, lt=2**62, description="Only events with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most events of a page.")] = 100,
    last_event_id: Annotated[str | None, Header(description="Of a stream: go on after this number.")] = None,
) -> Response:
    """A job's events in order: a page, or with `Accept: text/event-stream` a stream that ends with `event: end` once
    the job is over. `progress` is in the stream only, and has the number of the event before it."""
    await in_scope(context, caller, lambda scope: scope.get(Job, job_id))
    if _STREAM in request.headers.get("accept", ""):
        start = _number(last_event_id) if last_event_id is not None else after
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(context, caller, job_id, start), headers=headers, media_type=_STREAM)
    rows = await in_scope(context, caller, lambda scope: events.after(scope.session, job_id, after, limit + 1))
    following = str(rows[limit - 1].seq) if len(rows) > limit else None
    return answers.page([answers.event(row) for row in rows[:limit]], following)


def _number(last_event_id: str) -> int:
    if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
        detail = "`Last-Event-ID` is the number of an event"
        raise RequestInvalid(detail, errors=[FieldProblem(pointer="/header/Last-Event-ID", code="int", detail=detail)])
    return int(last_event_id)


async def _stream(context: Context, caller: Caller, job_id: str, seq: int) -> AsyncIterator[bytes]:
    """Frames, until the job is over and all was said. No session is held while it waits."""
    shown = ""

    def look(scope: Scope) -> tuple[Glimpse, list[dict[str, Any]], dict[str, Any]]:
        job = scope.get(Job, job_id)
        rows = events.after(scope.session, job_id, seq, _AT_ONCE)
        progress = {
            "seq": 0,
            "type": "progress",
            "data": job.progress,
            "created_at": answers.moment(now(scope.session)),
        }
        return glimpse(job), [answers.event(row) for row in rows], progress

    yield b": hello\n\n"
    while True:
        seen, said, progress = await in_scope(context, caller, look)
        for event in said:
            seq = event["seq"]
            yield _frame(event, number=seq)
        if len(said) == _AT_ONCE:
            continue
        if progress["data"] and seen.progress != shown:
            shown = seen.progress
            yield _frame(progress | {"seq": seq})
        if seen.state in TERMINAL:
            yield b'event: end\ndata: {"state":"%s"}\n\n' % seen.state.encode()
            return
        while not await context.watcher.changed(job_id, seen, context.settings.ping_seconds):
            yield b": ping\n\n"


def _frame(event: dict[str, Any], number: int | None = None) -> bytes:
    head = f"id: {number}\n".encode() if number is not None else b""
    return head + b"event: %s\ndata: %s\n\n" % (_one_line(event["type"]), to_json(event))


def _one_line(text: str) -> bytes:
    return " ".join(text.split()).encode()


@router.get("/{job_id}/logs", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def get_logs(
    job_id: str,
    access: ReadDep,
    after: Annotated[int, Query(ge=0, lt=2**62, description="Leave out so many bytes from the start.")] = 0,
) -> Response:
    """The job's log so far, as text; `X-Next-Offset` is the `after` that goes on where this answer ends, and
    `X-Complete` says whether more may come. Of a long log the middle is left out."""
    job = access.scope.get(Job, job_id)
    headers = {"X-Complete": str(job.state in TERMINAL).lower()}
    if job.log_sha256 is not None:
        body = logs.archived(access.context.blobs, job, after)
        return StreamingResponse(body, headers=headers, media_type="text/plain; charset=utf-8")
    pieces = logs.read(access.session, job_id, after, access.context.settings.log_bytes + 2**20)
    headers["X-Next-Offset"] = str(pieces[-1].stop if pieces else after)
    return Response(b"".join(piece.data for piece in pieces), headers=headers, media_type="text/plain; charset=utf-8")
