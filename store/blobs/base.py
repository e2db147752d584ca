"""The blob store's interface: finished objects under keys, and parts on their way to become one."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SignedUrl:
    """An address that works for one object, one method and a short time."""

    url: str
    headers: dict[str, str]
    expires_at: datetime


class Blobs(Protocol):
    """Objects are visible under their key only when they are whole. Keys are made by us, never by a client."""

    is_local: bool

    def put(self, key: str, path: Path, sha256: str) -> None:
        """Store a file that has this hash."""
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `stop`, in pieces. Raises FileNotFoundError at once."""
        ...

    def size(self, key: str) -> int | None:
        """Bytes of the object; None if there is none."""
        ...

    def delete(self, key: str) -> None:
        """Gone afterwards, there or not before."""
        ...

    def url(self, key: str, filename: str, media_type: str) -> SignedUrl | None:
        """Where a client can fetch it itself; None where the API must stream it."""
        ...

    # -- parts of an upload

    def can_sign(self) -> bool:
        """Whether clients can send parts to the store themselves."""
        ...

    def begin(self, name: str) -> str:
        """Open a place for parts; returns the handle that the methods below take."""
        ...

    async def put_part(self, handle: str, number: int, offset: int, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Store part `number` (from 1), which is `size` bytes at `offset` of the whole, in flat memory.

        A part cut off leaves nothing; sent again it replaces the one before. Raises FileNotFoundError where the
        place was closed, ValueError where more or fewer bytes came.
        """
        ...

    def sign_part(self, handle: str, number: int, size: int) -> SignedUrl:
        """Where the client can PUT that part itself."""
        ...

    def parts(self, handle: str) -> dict[int, int]:
        """Number and size of the parts that arrived."""
        ...

    def join(self, handle: str) -> None:
        """No more parts: make them one, still invisible. Doing it twice is harmless."""
        ...

    def digest(self, handle: str) -> tuple[str, int]:
        """SHA-256 and size of the joined parts, read back from the store."""
        ...

    def promote(self, handle: str, key: str) -> None:
        """Make the joined parts visible under `key`. Doing it twice is harmless."""
        ...

    def drop(self, handle: str) -> None:
        """Forget the parts."""
        ...
