"""The computation closes itself in before it opens anything, because what it opens is hostile.

On Linux, with no helper binary: no new privileges, no capabilities, Landlock over the files, a filter over the system
calls, limits over the rest. Elsewhere limits alone, and the answer says so. `python -P -m core.sandbox` prints, as
JSON, how far a process can be closed in on this machine.
"""

import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.sandbox import landlock, limits, seccomp

SUPERVISED = "MODELPRESS_SUPERVISED"
MEMORY_BYTES = "MODELPRESS_MEMORY_BYTES"
FILE_BYTES = "MODELPRESS_FILE_BYTES"
ORPHANED = 75
"""Exit code where the supervisor went away: EX_TEMPFAIL, somebody else may try again."""


@dataclass(frozen=True)
class Sandbox:
    """How far we are closed in: `full`, or `limits` with what could not be had."""

    level: Literal["full", "limits"]
    landlock: int = 0
    missing: list[str] = field(default_factory=list)


_closed: list[Sandbox] = []


def close_in(job_dir: Path) -> Sandbox:
    """Give up everything but the job folder, once, for good, before a second thread starts.

    The supervisor tells its limits by environment variables: memory (elsewhere nine tenths of the machine's; not
    enforced here where there is a GPU, whose driver reserves address space freely), size of a file, and whether it
    is there at all: then the process ends with it.
    """
    if _threads() > 1:
        raise RuntimeError("close_in() must come before the first thread: Landlock holds for those started after it")
    cuda = _sees_cuda()
    if os.environ.get(SUPERVISED):
        limits.die_with_parent()
    memory_bytes = None if cuda else _number(MEMORY_BYTES) or limits.memory_of_machine() * 9 // 10
    limits.set_limits(memory_bytes, _number(FILE_BYTES))
    sandbox = _close_files_and_calls(job_dir.resolve(), cuda=cuda) if sys.platform == "linux" else _limits_only()
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_end_with_standard_input, name="supervisor", daemon=True).start()
    _closed.append(sandbox)
    return sandbox


def is_closed_in() -> bool:
    """Whether this process has closed itself in, and nothing was missing."""
    return any(sandbox.level == "full" for sandbox in _closed)


def _close_files_and_calls(job_dir: Path, *, cuda: bool) -> Sandbox:
    missing = []
    limits.drop_capabilities()
    seccomp.forbid_new_privileges()
    abi = landlock.restrict(job_dir, cuda=cuda)
    if abi == 0:
        missing.append("Landlock: the kernel has none (Linux 5.13 or newer), or it is not switched on (CONFIG_LSM)")
    if not seccomp.install(cuda=cuda):
        missing.append("seccomp: the kernel refuses a filter, or the processor is neither x86_64 nor aarch64")
    return Sandbox("limits" if missing else "full", abi, missing)


def _limits_only() -> Sandbox:
    return Sandbox("limits", missing=[f"{sys.platform} has neither seccomp nor Landlock"])


def _threads() -> int:
    """Native ones too, where they can be counted."""
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else threading.active_count()


def _sees_cuda() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and Path("/dev/nvidiactl").exists()


def _number(variable: str) -> int | None:
    text = os.environ.get(variable)
    return int(text) if text else None


def _end_with_standard_input() -> None:
    """The other end is the supervisor's: it closes when that dies, however it dies."""
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)
