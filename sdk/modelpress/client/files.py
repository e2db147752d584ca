"""Files on their way out and in: hashed, read in parts, written to a temporary name."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from modelpress.client.errors import DownloadCorrupt
from modelpress.problem import FileUnreadable

CHUNK = 4 << 20


def sha256_of(path: Path, seen: Callable[[int], None]) -> str:
    """Lower-case hex; `seen` is told the bytes read so far."""
    digest, done = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                seen(done)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes; raises FileUnreadable for what is no plain file."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if not path.is_file():
        raise FileUnreadable(f"{path} is not a plain file")
    return size


def read_part(path: Path, number: int, part_size: int) -> bytes:
    """Part `number`, from 1."""
    try:
        with path.open("rb") as file:
            file.seek((number - 1) * part_size)
            return file.read(part_size)
    except OSError as error:
        raise unreadable(path, error) from error


def content_digest(content: bytes) -> str:
    """Value of a Content-Digest header, RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def unreadable(path: Path, error: OSError) -> FileUnreadable:
    return FileUnreadable(f"{path}: {error.strerror or error}")


class Arriving:
    """A file being downloaded: it has its own name only once it is whole and right."""

    def __init__(self, target: Path, sha256: str) -> None:
        self.target, self.sha256 = target, sha256
        self._digest, self.size = hashlib.sha256(), 0
        self._partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        self._file = self._partial.open("wb")

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def finish(self) -> Path:
        """Give the file its name; raises DownloadCorrupt where its bytes are not those promised."""
        came = self._digest.hexdigest()
        if came != self.sha256:
            raise DownloadCorrupt(f"{self.target.name}: sha256 is {came} after {self.size} bytes, not {self.sha256}")
        self._file.close()
        os.replace(self._partial, self.target)
        return self.target

    def drop(self) -> None:
        """Leave nothing behind, unless `finish` went through."""
        self._file.close()
        self._partial.unlink(missing_ok=True)
