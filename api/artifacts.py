"""What jobs made: described, and fetched here in ranges or from signed addresses."""

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from api import answers
from api.answers import Answer
from api.context import ReadDep
from modelpress import resources
from modelpress.problem import NotFound
from store.contents import blob_key
from store.problems import RangeUnsatisfiable
from store.tables import Artifact

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.get("/{artifact_id}", response_model=resources.ArtifactInfo)
def get_artifact(artifact_id: str, access: ReadDep) -> Response:
    """Size, hash and media type of one artifact."""
    return Answer(answers.artifact(access.scope.get(Artifact, artifact_id)))


@router.head("/{artifact_id}/content", response_class=Response)
def head_content(artifact_id: str, access: ReadDep) -> Response:
    """The headers of the bytes, from here wherever the bytes are."""
    row = access.scope.get(Artifact, artifact_id)
    if access.context.blobs.size(blob_key(row.project_id, row.sha256)) is None:
        raise NotFound(f"the bytes of {row.id} are gone")
    return Response(None, 200, _headers(row, row.size_bytes), row.media_type)


@router.get(
    "/{artifact_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"content": {"application/octet-stream": {}}, "description": "The range asked for"},
        302: {"description": "The bytes are at this signed address, for a short time"},
    },
)
def get_content(
    artifact_id: str,
    access: ReadDep,
    redirect: Annotated[bool, Query(description="False: answer with the address instead of going there.")] = True,
    range: Annotated[str | None, Header(description="`bytes=first-last`: one range.")] = None,
) -> Response:
    """The bytes: from here, or by a redirect to the blob store."""
    row, blobs = access.scope.get(Artifact, artifact_id), access.context.blobs
    key = blob_key(row.project_id, row.sha256)
    signed = blobs.url(key, row.name, row.media_type)
    if signed is None:
        return _streamed(access, row, key, range)
    if redirect:
        return RedirectResponse(signed.url, 302)
    return Answer({"url": signed.url, "expires_at": answers.moment(signed.expires_at), "sha256": row.sha256})


def _streamed(access: ReadDep, row: Artifact, key: str, asked: str | None) -> Response:
    span = _span(asked, row.size_bytes)
    start, stop = span or (0, row.size_bytes)
    headers = _headers(row, stop - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{row.size_bytes}"
    try:
        body = access.context.blobs.read(key, start, stop)
    except FileNotFoundError:
        raise NotFound(f"the bytes of {row.id} are gone") from None
    return StreamingResponse(body, 206 if span else 200, headers, row.media_type)


def _headers(row: Artifact, length: int) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{row.sha256}"',
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.name, safe='')}",
        "Content-Length": str(length),
    }


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last. None, for everything, where the header is none or asks for several."""
    found = _RANGE.fullmatch(asked or "")
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, stop = max(size - int(found[2]), 0), size
    else:
        start, stop = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    if start >= stop:
        raise RangeUnsatisfiable(f"there are {size} bytes, and {asked} is none of them", size=size)
    return start, stop
