"""Peak memory of a piece of work, told by Linux. Elsewhere it is not known.

The kernel's mark of the most memory held is set back through a file that a closed-in process can't open any more:
`open_mark` comes before that.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SET_BACK = b"5"  # proc_pid_clear_refs(5): reset the peak to the present size

_mark: list[int] = []


def open_mark() -> None:
    """Be able to measure from now on, where that can be had at all."""
    if sys.platform == "linux" and not _mark:
        with suppress(OSError):
            _mark.append(os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC))


@dataclass
class Peak:
    """Most bytes held at once beyond those held at the start; None while not known."""

    bytes: int | None = None


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the block. Memory that was freed before goes back to the system first, so that none is re-used unseen."""
    peak = Peak()
    open_mark()
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library than glibc keeps what it keeps
        ctypes.CDLL(None).malloc_trim(0)
    before = _set_back()
    yield peak
    if before is not None:
        peak.bytes = max(0, _status("VmHWM") - before)


def _set_back() -> int | None:
    """Bytes held now, the peak being counted from here on."""
    if not _mark:
        return None
    try:
        os.pwrite(_mark[0], SET_BACK, 0)
        return _status("VmRSS")
    except OSError:
        return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
