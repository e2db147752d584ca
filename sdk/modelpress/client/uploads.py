"""Uploads: files go up in parts, once; what is already there is not sent again."""

from pathlib import Path
from typing import Any

from modelpress.client.effects import Mode, Op, Send, operation, work
from modelpress.client.errors import UploadFailed
from modelpress.client.files import content_digest, read_part, sha256_of, size_of
from modelpress.client.resource import Resource
from modelpress.client.transport import segment
from modelpress.problem import ProblemError, error_of
from modelpress.progress import Bar
from modelpress.resources import SignedPart, SignedParts, SignRequest, Upload, UploadRequest

SIGNED_AT_ONCE = 8
"""Addresses are signed just before use: few enough to be sent before they expire."""


class Uploads(Resource[Mode]):
    """Raw files, before they are a model or a data set."""

    @operation
    def create(self, path: str | Path, *, filename: str | None = None) -> Op[Upload]:
        """Send a file and wait until its bytes are verified.

        Raises:
            UploadFailed: the bytes that arrived are not those of the file; it may have changed meanwhile.
        """
        return (yield from self.send(Path(path), filename))

    @operation
    def resume(self, upload_id: str, path: str | Path) -> Op[Upload]:
        """Send only the parts that did not arrive yet, after a crash or a cut line."""
        upload = yield from self._get(upload_id)
        return (yield from self._deliver(upload, Path(path)))

    @operation
    def get(self, upload_id: str) -> Op[Upload]:
        """One upload, with the parts that arrived."""
        return (yield from self._get(upload_id))

    @operation
    def abort(self, upload_id: str) -> Op[None]:
        """Throw away an upload that is not completed."""
        yield from self._transport.call("DELETE", f"/v1/uploads/{segment(upload_id)}")

    def send(self, path: Path, filename: str | None = None) -> Op[Upload]:
        """`create`, for other operations to build on."""
        size = yield from work(lambda: size_of(path))
        with self._bars.bytes(f"Hashing {path.name}", size) as bar:
            sha256 = yield from work(lambda: sha256_of(path, bar.update))
        request = UploadRequest(filename=filename or path.name, size_bytes=size, sha256=sha256)
        upload = yield from self._read(Upload, "POST", "/v1/uploads", json=request.model_dump(), creates=True)
        return (yield from self._deliver(upload, path))

    def _get(self, upload_id: str) -> Op[Upload]:
        return (yield from self._read(Upload, "GET", f"/v1/uploads/{segment(upload_id)}"))

    def _deliver(self, upload: Upload, path: Path) -> Op[Upload]:
        if upload.state == "pending":
            with self._bars.bytes(f"Uploading {path.name}", upload.size_bytes) as bar:
                yield from self._send_missing(upload, path, bar)
            upload = yield from self._read(Upload, "POST", f"/v1/uploads/{segment(upload.id)}/complete")
        return (yield from self._verified(upload))

    def _send_missing(self, upload: Upload, path: Path, bar: Bar) -> Op[None]:
        numbers = range(1, upload.transfer.parts + 1)
        missing = [number for number in numbers if number not in set(upload.received_parts)]
        try:
            if upload.transfer.mode == "direct":
                yield from self._send_direct(upload, path, missing, bar)
            else:
                yield from self._send_by_proxy(upload, path, missing, bar)
        except ProblemError as error:
            error.hint = error.hint or f"Go on where it stopped with `modelpress upload {path} --resume {upload.id}`."
            raise

    def _send_by_proxy(self, upload: Upload, path: Path, missing: list[int], bar: Bar) -> Op[None]:
        for number in missing:
            content = yield from work(lambda n=number: read_part(path, n, upload.transfer.part_size))
            headers = {"Content-Type": "application/octet-stream", "Content-Digest": content_digest(content)}
            place = f"/v1/uploads/{segment(upload.id)}/parts/{number}"
            yield from self._transport.call("PUT", place, content=content, headers=headers)
            bar.update(min(number * upload.transfer.part_size, upload.size_bytes))

    def _send_direct(self, upload: Upload, path: Path, missing: list[int], bar: Bar) -> Op[None]:
        for start in range(0, len(missing), SIGNED_AT_ONCE):
            for part in (yield from self._sign(upload, missing[start : start + SIGNED_AT_ONCE])):
                yield from self._put_signed(upload, part, path)
                bar.update(min(part.number * upload.transfer.part_size, upload.size_bytes))

    def _put_signed(self, upload: Upload, part: SignedPart, path: Path) -> Op[None]:
        content = yield from work(lambda: read_part(path, part.number, upload.transfer.part_size))
        try:
            yield from self._transport.retried(Send("PUT", part.url, part.headers, content=content))
        except ProblemError as error:
            if error.status != 403:
                raise
            [part] = yield from self._sign(upload, [part.number])  # it expired on the way
            yield from self._transport.retried(Send("PUT", part.url, part.headers, content=content))

    def _sign(self, upload: Upload, numbers: list[int]) -> Op[list[SignedPart]]:
        body: dict[str, Any] = SignRequest(part_numbers=numbers).model_dump()
        signed = yield from self._read(SignedParts, "POST", f"/v1/uploads/{segment(upload.id)}/sign", json=body)
        return signed.parts

    def _verified(self, upload: Upload) -> Op[Upload]:
        """The upload once the server hashed what arrived."""
        upload = yield from self._settled(upload, "/v1/uploads", busy="verifying")
        if upload.state == "completed":
            return upload
        if upload.error:
            raise error_of(upload.error)
        raise UploadFailed(f"upload {upload.id} is {upload.state}", hint="Send the file again.")
