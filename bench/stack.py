"""The service as its own processes, embedded or full, for as long as a measurement takes."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from modelpress import Client
from tests import servers
from tests.databases import Databases
from tests.servers.private import free_port


@dataclass(frozen=True)
class Stack:
    client: Client
    api: subprocess.Popen[bytes]


@contextmanager
def embedded() -> Iterator[Stack]:
    """`modelpress-server up` on an empty data folder."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = free_port()
        settings = {"MODELPRESS_DATA_DIR": folder}
        api = stack.enter_context(_started(["up", "--port", str(port)], settings))
        _ready(port)
        yield Stack(stack.enter_context(_client(port, (Path(folder) / "key").read_text().strip())), api)


@contextmanager
def full() -> Iterator[Stack]:
    """API, keeper and Celery worker on PostgreSQL, Redis and an S3 server."""
    with ExitStack() as stack:
        databases = stack.enter_context(Databases(stack.enter_context(servers.postgres_server())))
        name = databases.create()
        s3 = stack.enter_context(servers.s3_server())
        settings = {
            "MODELPRESS_DATA_DIR": stack.enter_context(tempfile.TemporaryDirectory()),
            "MODELPRESS_DATABASE_URL": databases.url(name, databases.app),
            "MODELPRESS_OWNER_DATABASE_URL": databases.url(name, databases.owner),
            "MODELPRESS_REDIS_URL": stack.enter_context(servers.redis_server()),
            "MODELPRESS_S3_ENDPOINT": s3.endpoint,
            "MODELPRESS_S3_BUCKET": s3.bucket,
            "MODELPRESS_S3_ACCESS_KEY": s3.access_key,
            "MODELPRESS_S3_SECRET_KEY": s3.secret_key,
        }
        subprocess.run(_command(["migrate"]), env=_environment(settings), check=True, stderr=subprocess.DEVNULL)
        made = subprocess.run(
            _command(["keys", "create"]), env=_environment(settings), check=True, capture_output=True, text=True
        )
        port = free_port()
        api = stack.enter_context(_started(["api", "--port", str(port)], settings))
        for part in ("keeper", "worker"):
            stack.enter_context(_started([part], settings))
        _ready(port)
        yield Stack(stack.enter_context(_client(port, made.stdout.split()[-1])), api)


def _client(port: int, key: str) -> Client:
    return Client(f"http://127.0.0.1:{port}", key)


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-P", "-m", "server", *arguments]


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELPRESS_")} | settings


@contextmanager
def _started(arguments: list[str], settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        _command(arguments), env=_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _ready(port: int) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the service did not become ready")
