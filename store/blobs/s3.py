"""Blobs on any S3-compatible server. Correctness leans on nothing that only some of them honour."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

from store.blobs.base import SignedUrl
from store.settings import MIB, Settings

_PIECE = 2**20
_MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}


class S3Blobs:
    """Objects under their key; an upload's parts as a multipart upload, joined to an object under `staging/`."""

    is_local = False

    def __init__(self, settings: Settings) -> None:
        assert settings.s3_bucket
        self._bucket = settings.s3_bucket
        self._seconds = settings.presign_seconds
        self._client = make_client(settings, settings.s3_endpoint)
        public = settings.s3_public_endpoint
        self._public = make_client(settings, public) if public else None
        self._transfer = TransferConfig(multipart_threshold=64 * MIB, multipart_chunksize=64 * MIB, max_concurrency=4)

    # -- objects

    def put(self, key: str, path: Path, sha256: str) -> None:
        self._client.upload_file(str(path), self._bucket, key, Config=self._transfer)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if stop is not None and stop <= start:
            return iter(())
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        if start >= size:
            return iter(())
        span = f"bytes={start}-{'' if stop is None else stop - 1}"
        body = self._get(key, span)["Body"]
        return body.iter_chunks(_PIECE)

    def _get(self, key: str, span: str) -> dict[str, Any]:
        with _missing_is_not_found(key):
            return self._client.get_object(Bucket=self._bucket, Key=key, Range=span)

    def size(self, key: str) -> int | None:
        try:
            return self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def url(self, key: str, filename: str, media_type: str) -> SignedUrl | None:
        if self._public is None:
            return None
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentType": media_type,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
        }
        return self._signed(self._public, "get_object", parameters)

    # -- parts: a handle is the staging key and S3's own id of the multipart upload

    def can_sign(self) -> bool:
        return self._public is not None

    def begin(self, name: str) -> str:
        key = f"staging/{name}"
        made = self._client.create_multipart_upload(
            Bucket=self._bucket, Key=key, ContentType="application/octet-stream"
        )
        return f"{key} {made['UploadId']}"

    async def put_part(self, handle: str, number: int, offset: int, size: int, pieces: AsyncIterator[bytes]) -> None:
        body = bytearray()  # S3 wants the length first; a part is some MiB
        async for piece in pieces:
            body += piece
            if len(body) > size:
                raise ValueError(f"part {number} has {size} bytes, and more came")
        if len(body) != size:
            raise ValueError(f"part {number} has {size} bytes, and {len(body)} came")
        await asyncio.to_thread(self._send_part, handle, number, bytes(body))

    def _send_part(self, handle: str, number: int, body: bytes) -> None:
        with _missing_is_not_found(handle):
            self._client.upload_part(**self._place(handle), PartNumber=number, Body=body)

    def sign_part(self, handle: str, number: int, size: int) -> SignedUrl:
        assert self._public is not None
        return self._signed(self._public, "upload_part", {**self._place(handle), "PartNumber": number})

    def parts(self, handle: str) -> dict[int, int]:
        return {part["PartNumber"]: part["Size"] for part in self._listed(handle)}

    def join(self, handle: str) -> None:
        place = self._place(handle)
        parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in self._listed(handle)]
        if self.size(place["Key"]) is not None:
            return
        if not parts:  # an empty file: S3 joins at least one part
            self._client.put_object(Bucket=self._bucket, Key=place["Key"], Body=b"")
            return
        with _missing_is_not_found(handle):
            self._client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})

    def digest(self, handle: str) -> tuple[str, int]:
        hashed, size = hashlib.sha256(), 0
        for piece in self.read(self._place(handle)["Key"]):
            hashed.update(piece)
            size += len(piece)
        return hashed.hexdigest(), size

    def promote(self, handle: str, key: str) -> None:
        source = {"Bucket": self._bucket, "Key": self._place(handle)["Key"]}
        with _missing_is_not_found(handle):
            self._client.copy(source, self._bucket, key, Config=self._transfer)

    def drop(self, handle: str) -> None:
        place = self._place(handle)
        try:
            self._client.abort_multipart_upload(**place)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
        self.delete(place["Key"])

    def _listed(self, handle: str) -> list[dict[str, Any]]:
        """The parts that arrived; none where they were joined already."""
        pages = self._client.get_paginator("list_parts").paginate(**self._place(handle))
        try:
            return list(itertools.chain.from_iterable(page.get("Parts", []) for page in pages))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return []
            raise

    def _place(self, handle: str) -> dict[str, Any]:
        key, upload_id = handle.split(" ", 1)
        return {"Bucket": self._bucket, "Key": key, "UploadId": upload_id}

    def _signed(self, client: Any, method: str, parameters: dict[str, Any]) -> SignedUrl:
        expires = datetime.now(UTC) + timedelta(seconds=self._seconds)
        url = client.generate_presigned_url(method, Params=parameters, ExpiresIn=self._seconds)
        return SignedUrl(url, {}, expires)


@contextmanager
def _missing_is_not_found(what: str) -> Iterator[None]:
    """Turns the server's "there is no such thing" into FileNotFoundError."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            raise FileNotFoundError(what) from error
        raise


def make_client(settings: Settings, endpoint: str | None) -> Any:
    secret = settings.s3_secret_key
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": settings.s3_addressing_style},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=50,
            retries={"mode": "standard", "max_attempts": 4},
        ),
    )


def ensure_bucket(settings: Settings) -> None:
    """Make the bucket where it is missing; for `modelpress-server migrate` on a server of our own."""
    client = make_client(settings, settings.s3_endpoint)
    try:
        client.head_bucket(Bucket=settings.s3_bucket)
    except ClientError:
        client.create_bucket(Bucket=settings.s3_bucket)
