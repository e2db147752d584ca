"""Limits on what the process may use, and the loss of root's powers: what works on every system we run on."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

MOST_OPEN_FILES = 4096
MOST_THREADS = 1024
PR_SET_PDEATHSIG = 1
CAPABILITIES_V3 = 0x20080522


def set_limits(memory_bytes: int | None, file_bytes: int | None) -> None:
    """Bound memory (None: unbounded), size of a file, open files, threads and processes; no core dumps."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, MOST_OPEN_FILES)
    # Counted over all that the user runs, so set above what runs now. Root is exempt: there the supervisor watches.
    _lower(resource.RLIMIT_NPROC, _running() + MOST_THREADS)
    if memory_bytes is not None:
        _lower(resource.RLIMIT_DATA, memory_bytes)
    if file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, file_bytes)


def drop_capabilities() -> None:
    """Give up root's powers, if we have any: root without them is an ordinary owner of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def die_with_parent() -> None:
    """Have the kernel end us when the thread that started us ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def memory_of_machine() -> int:
    """Bytes of physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (bound, bound))


def _running() -> int:
    """Threads of this user, on Linux; elsewhere a guess above what a desktop runs."""
    if sys.platform != "linux":
        return 1024
    threads = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end as we look
            if process.stat().st_uid == os.getuid():
                threads += len(os.listdir(process / "task"))
    return threads
