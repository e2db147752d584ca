"""The computation's process: how it is started, what it uses, and how it is ended."""

import contextlib
import fcntl
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

Reason = Literal[
    "cancelled", "drained", "lease_lost", "unreachable", "abandoned",
    "memory", "threads", "disk", "run_time", "no_progress",
]  # fmt: skip

PIPE_BYTES = 1 << 20
INHERITED = (
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NVIDIA_DRIVER_CAPABILITIES",
)
"""All that the child gets of our environment; none of it is a secret."""


def command(job_dir: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "core", str(job_dir)]


def environment(
    job_dir: Path, cuda_devices: str, memory_bytes: int, file_bytes: int, *, allow_pt2: bool = False
) -> dict[str, str]:
    """What the child sees. `cuda_devices` is the UUID of its GPU, or empty for none."""
    home = str(job_dir / "tmp")
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "USER": "modelpress",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "CUDA_VISIBLE_DEVICES": cuda_devices,
        "CUDA_CACHE_DISABLE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
        "MODELPRESS_SUPERVISED": "1",
        "MODELPRESS_MEMORY_BYTES": str(memory_bytes),
        "MODELPRESS_FILE_BYTES": str(file_bytes),
        "MODELPRESS_ALLOW_PT2": "1" if allow_pt2 else "0",
    }


@dataclass(frozen=True)
class Usage:
    """What a process holds now: memory that is its own (mapped files can be dropped and don't count), and threads."""

    memory_bytes: int = 0
    threads: int = 0


class Child:
    """A running computation in a session of its own, with a pipe whose closing ends it. Use as a context manager.

    Start it from a thread that outlives it: Linux ends it together with that thread.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()
        os.set_blocking(self._output, False)
        if sys.platform == "linux":
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.stopped: Reason | None = None
        self._kill_at = math.inf
        self._is_swept = False
        self._lock = threading.Lock()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("abandoned", 0.0)
        while not self.wait(1.0):
            pass
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so long at most. Call it often: it ends what was asked to stop and did not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(min(seconds, max(self._kill_at - time.monotonic(), 0.0)))
        with self._lock:
            if self.process.poll() is None and time.monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
                self.process.wait()
            if self.process.poll() is not None and not self._is_swept:
                self._signal(signal.SIGKILL)  # what it started and left behind
                self._is_swept = True
        return self._is_swept

    def stop(self, reason: Reason, grace_seconds: float) -> None:
        """Ask it to end; `wait` ends it and all it started after the grace. The first reason given counts.

        From any thread, and more than once: the shortest grace counts.
        """
        with self._lock:
            if self.process.poll() is not None:
                return
            self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds)
            if grace_seconds <= 0:
                self._signal(signal.SIGKILL)
            elif self.stopped is None:
                self._signal(signal.SIGTERM)
            self.stopped = self.stopped or reason

    def _signal(self, number: signal.Signals) -> None:
        # The group, not the process alone: what it started ends with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def output(self) -> bytes:
        """What it has said since the last call, a pipe's content at most."""
        try:
            return os.read(self._output, PIPE_BYTES)
        except BlockingIOError:
            return b""

    def usage(self) -> Usage:
        """Of the process and all it started; nothing once it has ended."""
        try:
            leader = psutil.Process(self.process.pid)
            family = [leader, *leader.children(recursive=True)] if sys.platform != "linux" else [leader]
            return Usage(sum(map(_own_memory, family)), sum(process.num_threads() for process in family))
        except (psutil.Error, OSError):
            return Usage()


def _own_memory(process: psutil.Process) -> int:
    if sys.platform != "linux":
        return process.memory_info().rss
    kilobytes = 0
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "RssShmem:")):
            kilobytes += int(line.split()[1])
    return kilobytes * 1024
