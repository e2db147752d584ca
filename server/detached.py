"""`modelpress-server up --detach`: the embedded service in the background, once it answers."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from modelpress.problem import Unavailable
from store.settings import Settings

STARTING_S = 60.0


@dataclass(frozen=True)
class Running:
    """A service that answers. `process` is None where it ran already."""

    url: str
    key: str
    log: Path
    process: subprocess.Popen[bytes] | None


def ensure_running(settings: Settings, host: str, port: int) -> Running:
    """The service on this data folder, started in a session of its own where none runs.

    Raises:
        Unavailable: it did not come up; with its last words.
    """
    log = settings.data_dir / "service.log"
    if found := _answering(settings, log, None):
        return found
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-P", "-m", "server", "up", "--host", host, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(settings.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _answering(settings, log, process):
            return found
        time.sleep(0.05)
    process.terminate()
    last = log.read_text("utf-8", "replace").strip()[-2000:]
    raise Unavailable(f"the service did not come up:\n{last}", hint=f"Its whole log is {log}.")


def _answering(settings: Settings, log: Path, process: subprocess.Popen[bytes] | None) -> Running | None:
    try:
        url = (settings.data_dir / "url").read_text().strip()
        key = settings.key_file.read_text().strip()
        ready = httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except (FileNotFoundError, httpx.TransportError, httpx.UnsupportedProtocol):
        return None
    return Running(url, key, log, process) if ready else None
