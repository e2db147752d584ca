"""Reading `events.jsonl` while a process that we don't trust writes it."""

import os
import stat
from pathlib import Path

from pydantic import ValidationError

from modelpress.events import CoreEvent, core_event
from worker.text import plain_json

MOST_LINE_BYTES = 16 * 1024
MOST_BYTES_A_READ = 256 * 1024
MOST_BYTES = 64 << 20
"""Of the whole file: a job of 10,000 events has 2 MB."""


class EventTail:
    """What was appended since the last look. Lines that are too long, or no events, are counted and left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._read = 0
        self._rest = b""
        self._is_skipping = False
        self.refused = 0

    def read(self) -> list[CoreEvent]:
        if self._file is None:
            self._file = open_plain_file(self._path)
        if self._file is None or self._read >= MOST_BYTES:
            return []
        piece = os.pread(self._file, MOST_BYTES_A_READ, self._read)
        self._read += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = [event for line in lines if (event := self._event(line)) is not None]
        if len(self._rest) > MOST_LINE_BYTES:
            self._rest, self._is_skipping = b"", True
        return events

    def _event(self, line: bytes) -> CoreEvent | None:
        skipped, self._is_skipping = self._is_skipping, False
        if not skipped and not line.strip():
            return None
        if not skipped and len(line) <= MOST_LINE_BYTES:
            try:
                return core_event.validate_python(plain_json(core_event.validate_json(line).model_dump(mode="json")))
            except (ValidationError, RecursionError):
                pass
        self.refused += 1
        return None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def open_plain_file(path: str | Path, folder: int | None = None) -> int | None:
    """Open for reading a plain file of one name, in no way a link or a pipe; None if it is not there or not that."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return file
    os.close(file)
    return None
