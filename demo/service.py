"""The embedded service, started with no settings and stopped again."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress import Client

STARTING_SECONDS = 60.0
STOPPING_SECONDS = 15.0


@contextmanager
def running(data_dir: Path) -> Iterator[Client]:
    """A client of `modelpress-server up` on a free port and a data folder of its own.

    Raises:
        RuntimeError: it did not come up; with its last words.
    """
    log = data_dir / "service.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELPRESS_")}
    command = [sys.executable, "-P", "-m", "server", "up", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        service = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=clean)
    try:
        with _client(service, data_dir, log) as client:
            yield client
    finally:
        service.terminate()
        try:
            service.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _client(service: subprocess.Popen[bytes], data_dir: Path, log: Path) -> Client:
    """A client, once the service has left its address and key and answers."""
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        if (data_dir / "url").exists():
            client = Client((data_dir / "url").read_text().strip(), (data_dir / "key").read_text().strip())
            if client.service.is_ready():
                return client
            client.close()
        time.sleep(0.05)
    raise RuntimeError(f"the service did not come up:\n{log.read_text('utf-8', 'replace')[-2000:]}")
