"""Uploads: announce a file, send its parts here or to signed addresses, complete."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import answers
from api.answers import Answer
from api.context import CallerDep, ContextDep, ReadDep, WriteDep, in_scope
from api.idempotency import DOCUMENTED, created
from modelpress import resources
from modelpress.problem import Conflict, RequestInvalid
from modelpress.resources import SignRequest, UploadRequest
from store import uploads
from store.blobs import Blobs
from store.problems import UploadMismatch
from store.tables import Upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_SHA256_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


def _shown(row: Upload, blobs: Blobs) -> dict[str, object]:
    is_open = row.state == "pending" and row.staging is not None
    return answers.upload(row, sorted(blobs.parts(row.staging)) if is_open and row.staging else [])


@router.post("", status_code=201, response_model=resources.Upload, openapi_extra=DOCUMENTED)
def create_upload(request: Request, body: UploadRequest, access: WriteDep) -> Response:
    """Announce a file. Bytes that this project already holds are not sent again: the upload is `completed` at once."""

    def make() -> tuple[dict[str, object], str]:
        context = access.context
        row = uploads.create(access.session, context.settings, context.blobs, access.caller.project, body)
        return answers.upload(row, []), f"/v1/uploads/{row.id}"

    return created(access, request, body, make)


@router.get("/{upload_id}", response_model=resources.Upload)
def get_upload(upload_id: str, access: ReadDep) -> Response:
    """One upload, with the numbers of the parts that arrived: send the others to resume."""
    return Answer(_shown(access.scope.get(Upload, upload_id), access.context.blobs))


@router.post("/{upload_id}/sign", response_model=resources.SignedParts)
def sign_parts(upload_id: str, body: SignRequest, access: WriteDep) -> Response:
    """Addresses to PUT parts to, where `transfer.mode` is `direct`. They work for a short time: ask just before use."""
    upload = access.scope.get(Upload, upload_id)
    handle = uploads.check_open(upload)
    if upload.mode != "direct":
        raise Conflict(
            f"{upload.id} takes its parts here", hint=f"PUT them to /v1/uploads/{upload.id}/parts/1 and so on."
        )
    parts, blobs = [], access.context.blobs
    for number in body.part_numbers:
        signed = blobs.sign_part(handle, number, uploads.part_span(upload, number)[1])
        parts.append({"number": number, "url": signed.url, "headers": signed.headers})
    return Answer({"parts": parts, "expires_at": answers.moment(signed.expires_at)})


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.put("/{upload_id}/parts/{number}", status_code=204, openapi_extra=_BODY)
async def put_part(
    upload_id: str,
    number: Annotated[int, Path(ge=1, le=10_000)],
    request: Request,
    context: ContextDep,
    caller: CallerDep,
) -> Response:
    """Send part `number`, where `transfer.mode` is `proxy`: the bare bytes, `part_size` of them or, in the last part,
    the rest. With a `Content-Digest` (sha-256, RFC 9530) a part damaged on the way is refused. Sending a part again
    replaces it."""
    upload = await in_scope(context, caller, lambda scope: scope.get(Upload, upload_id))
    handle = uploads.check_open(upload)
    if upload.mode != "proxy":
        raise Conflict(f"{upload.id} takes its parts at signed addresses", hint=f"Ask /v1/uploads/{upload.id}/sign.")
    offset, size = uploads.part_span(upload, number)
    _check_length(request, number, size)
    body = _Body(request, _promised(request), context.settings.part_idle_seconds)
    try:
        await context.blobs.put_part(handle, number, offset, size, body.pieces())
    except ValueError as error:
        raise UploadMismatch(str(error), hint="Send the part again.") from None
    except FileNotFoundError:
        raise Conflict(f"{upload.id} takes no more parts") from None
    except ClientDisconnect:
        return Response(status_code=499)  # nobody is there to read it
    return Response(status_code=204)


class _Body:
    """The request's bytes as they come; refuses to wait for ever, and to end with a wrong digest."""

    def __init__(self, request: Request, promised: bytes | None, idle_seconds: float) -> None:
        self._stream = request.stream()
        self._promised, self._idle = promised, idle_seconds

    async def pieces(self) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    piece = await anext(self._stream)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise UploadMismatch(f"nothing came for {self._idle:g} seconds", hint="Send the part again.") from None
            if self._promised is not None and piece:
                await run_in_threadpool(digest.update, piece) if len(piece) > 2**18 else digest.update(piece)
            yield piece
        if self._promised is not None and digest.digest() != self._promised:
            raise UploadMismatch("the part does not have the digest it came with", hint="Send the part again.")


def _check_length(request: Request, number: int, size: int) -> None:
    declared = request.headers.get("content-length")
    if declared is not None and declared != str(size):
        raise UploadMismatch(f"part {number} has {size} bytes, not {declared}")


def _promised(request: Request) -> bytes | None:
    header = request.headers.get("content-digest")
    if header is None:
        return None
    found = _SHA256_DIGEST.search(header)
    if found is None:
        raise RequestInvalid("`Content-Digest` must be `sha-256=:<base64>:`")
    return base64.b64decode(found[1])


@router.post("/{upload_id}/complete", status_code=202, response_model=resources.Upload)
def complete_upload(upload_id: str, access: WriteDep) -> Response:
    """All parts were sent: their bytes are now read back and hashed; the upload ends `completed` or `failed`."""
    context = access.context
    upload = access.scope.get(Upload, upload_id, lock=True)
    uploads.complete(access.session, context.settings, context.blobs, upload)
    return Answer(_shown(upload, context.blobs), 202)


@router.delete("/{upload_id}", status_code=204)
def abort_upload(upload_id: str, access: WriteDep) -> Response:
    """Drop an upload that is not completed. One that is stays: models and data sets may use it."""
    uploads.abort(access.session, access.context.blobs, access.scope.get(Upload, upload_id, lock=True))
    return Response(status_code=204)
