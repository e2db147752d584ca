"""The embedded service, started with no settings and stopped again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress import Client
from server.detached import ensure_running
from store.settings import Settings

STOPPING_SECONDS = 15.0


@contextmanager
def running(data_dir: Path) -> Iterator[Client]:
    """A client of `modelpress-server up` on a free port and a data folder of its own."""
    for name in [name for name in os.environ if name.startswith("MODELPRESS_")]:
        del os.environ[name]
    started = ensure_running(Settings(data_dir=data_dir), "127.0.0.1", 0)
    assert started.process is not None, "the folder is new"
    try:
        with Client(started.url, started.key) as client:
            yield client
    finally:
        started.process.terminate()
        try:
            started.process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            started.process.kill()
            started.process.wait()
