"""A file over loopback into the embedded service against `cp`, and the API's memory meanwhile.

`python -m bench upload [GIB]`: 1 by default.
"""

import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench.record import keep
from bench.stack import embedded

GIB = 2**30


def main(arguments: list[str]) -> None:
    size = int(float(arguments[0]) * GIB) if arguments else GIB
    with tempfile.TemporaryDirectory() as folder, embedded() as stack:
        path = Path(folder) / "big.bin"
        fill(path, size)
        copy = timed_copy(path, Path(folder) / "copy.bin")
        with Watch(stack.api.pid) as watch:
            began = time.perf_counter()
            upload = stack.client.uploads.create(path)
            sent = time.perf_counter() - began
        assert upload.state == "completed", upload
    figures = {
        "bytes": size,
        "cp, s": round(copy, 2),
        "upload and verification, s": round(sent, 2),
        "ratio": round(sent / copy, 2),
        "API memory before, MiB": watch.before // 2**20,
        "API memory at most, MiB": watch.most // 2**20,
    }
    keep("upload", figures)


def fill(path: Path, size: int) -> None:
    """Bytes that nothing can compress or deduplicate."""
    with path.open("wb") as file:
        for _ in range(size // 2**24):
            file.write(os.urandom(2**24))


def timed_copy(source: Path, target: Path) -> float:
    """`cp` and its way to the disk, since an upload is only acknowledged once it lies there."""
    began = time.perf_counter()
    subprocess.run(["cp", source, target], check=True)
    subprocess.run(["sync", target], check=True)
    return time.perf_counter() - began


class Watch:
    """Looks at a process's resident memory every hundredth of a second."""

    def __init__(self, pid: int) -> None:
        self._process, self._stop = psutil.Process(pid), threading.Event()
        self.before = self.most = self._process.memory_info().rss

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)
