"""Blobs in a local folder: the embedded default.

    objects/<key>        finished, read-only
    staging/<handle>/    data: the parts, each written at its place; part-<n>: it arrived, so many bytes; sealed

Parts go straight to their place in one file, so that joining them costs nothing. Whoever writes a part holds a
shared lock on that file; joining takes the lock for itself alone and seals the folder, so that nothing changes after.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from modelpress.problem import Unavailable
from store.blobs.base import SignedUrl
from store.ids import new_id

_PIECE = 2**20
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_LOCK_S = 90.0
"""Longer than a sender of a part may be silent."""


class LocalBlobs:
    is_local = True

    def __init__(self, folder: Path) -> None:
        self._objects, self._staging = folder / "objects", folder / "staging"
        for each in (folder, self._objects, self._staging):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _path(self, key: str) -> Path:
        return self._objects.joinpath(*map(_checked, key.split("/")))

    # -- objects

    def put(self, key: str, path: Path, sha256: str) -> None:
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{new_id('tmp')}")
        try:
            shutil.copyfile(path, draft)
            _seal(draft, target)
        finally:
            draft.unlink(missing_ok=True)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        file = self._path(key).open("rb")
        return _pieces(file, start, stop)

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def url(self, key: str, filename: str, media_type: str) -> SignedUrl | None:
        return None

    # -- parts

    def can_sign(self) -> bool:
        return False

    def begin(self, name: str) -> str:
        folder = self._staging / _checked(name)
        folder.mkdir(mode=0o700)
        (folder / "data").touch(mode=0o600)
        return name

    async def put_part(self, handle: str, number: int, offset: int, size: int, pieces: AsyncIterator[bytes]) -> None:
        folder = self._staging / _checked(handle)
        with self._data(handle, "r+b") as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_SH)
            if (folder / "sealed").exists():
                raise FileNotFoundError(f"{handle} takes no more parts")
            marker = folder / f"part-{number}"
            marker.unlink(missing_ok=True)
            file.seek(offset)
            written = 0
            async for piece in _gathered(pieces):
                written += len(piece)
                if written > size:
                    raise ValueError(f"part {number} has {size} bytes, and more came")
                await asyncio.to_thread(file.write, piece)
            if written != size:
                raise ValueError(f"part {number} has {size} bytes, and {written} came")
            file.flush()
            marker.write_text(str(size))

    def sign_part(self, handle: str, number: int, size: int) -> SignedUrl:
        raise Unavailable("this service takes parts itself: PUT them to it")

    def parts(self, handle: str) -> dict[int, int]:
        found = (self._staging / _checked(handle)).glob("part-*")
        return {int(path.name.removeprefix("part-")): int(path.read_text() or 0) for path in found}

    def join(self, handle: str) -> None:
        with self._data(handle, "rb") as file:
            _lock_alone(file)
            (self._staging / _checked(handle) / "sealed").touch()

    def digest(self, handle: str) -> tuple[str, int]:
        hashed, size = hashlib.sha256(), 0
        with self._data(handle, "rb") as file:
            for piece in _pieces(file, 0, None):
                hashed.update(piece)
                size += len(piece)
        return hashed.hexdigest(), size

    def promote(self, handle: str, key: str) -> None:
        target, data = self._path(key), self._staging / _checked(handle) / "data"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{new_id('tmp')}")
        os.link(data, draft)  # not moved: until the database knows, a second try must find the parts
        _seal(draft, target)

    def drop(self, handle: str) -> None:
        shutil.rmtree(self._staging / _checked(handle), ignore_errors=True)

    @contextmanager
    def _data(self, handle: str, mode: str) -> Iterator[IO[bytes]]:
        with (self._staging / _checked(handle) / "data").open(mode, buffering=0) as file:
            yield file


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name that we make: {name!r}")
    return name


def _pieces(file: IO[bytes], start: int, stop: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = stop - start if stop is not None else None
        while left is None or left > 0:
            piece = file.read(_PIECE if left is None else min(_PIECE, left))
            if not piece:
                return
            left = left if left is None else left - len(piece)
            yield piece


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces: a network piece is 64 KiB, and each costs a trip to a thread."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= _PIECE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _lock_alone(file: IO[bytes]) -> None:
    """Wait until no part is being written. Raises Unavailable if one takes too long."""
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unavailable("a part of the upload is still being written; try again") from None
            time.sleep(0.02)


def _seal(draft: Path, target: Path) -> None:
    """Make a whole file visible under its name, safe against a power cut."""
    draft.chmod(0o400)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
