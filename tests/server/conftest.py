"""Parts of the service as processes, started the way a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Start = Callable[..., subprocess.Popen[str]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "server", *arguments]


def environment(**settings: object) -> dict[str, str]:
    """Ours without any MODELPRESS_... but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELPRESS_")}
    return kept | {f"MODELPRESS_{name.upper()}": str(value) for name, value in settings.items()}


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(**settings), capture_output=True, text=True)


def until(is_so: Callable[[], object], seconds: float = 90.0) -> None:
    """Return as soon as it is so; fail where it never is."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command; whatever still runs at the end is told to stop."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, **settings: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(command(*arguments), env=environment(**settings), stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in started:
        process.communicate(timeout=60)
