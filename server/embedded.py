"""`modelpress-server up`: the whole service in one process, with no settings at all.

SQLite and a local folder, the API on loopback, a lane for inspecting and one for each device, the keeper in a thread.
"""

import contextlib
import ipaddress
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn

from api.app import create_app
from modelpress.problem import Conflict, RequestInvalid
from server.http import serve_until_told
from server.keeper import Keeper
from store import keys, leases, logs, projects
from store.blobs import open_blobs
from store.cache import BlobCache
from store.database import Database, file_lock
from store.migrate import migrate
from store.rings import DEVICE, INSPECT, LocalRings
from store.settings import Settings
from worker.devices import visible_gpus
from worker.lanes import Lanes
from worker.place import Place
from worker.protect import hide_memory
from worker.sandbox import Found, probe

LOOPBACK_NAMES = ("localhost",)
GOODBYE_S = 3
"""For answers under way, event streams above all, when the service stops."""

log = structlog.get_logger(__name__)


def serve(settings: Settings, host: str, port: int) -> None:
    """Run until SIGINT or SIGTERM; running jobs are then given back and go on at the next start.

    Raises:
        Conflict: a service runs on this data folder already, or another program has the port.
        RequestInvalid: the address is not a loopback one and the computation can't be closed in here.
    """
    hide_memory()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    sandbox = probe()
    check_address(host, sandbox)
    with _alone(settings.data_dir):
        migrate(settings.owner_database_url)
        listener = _listen(host, port)
        rings = LocalRings()
        database = Database(settings.database_url, rings)
        try:
            key = ensure_key(settings, database)
            take_back(settings, database)
            url = f"http://{_in_url(host)}:{listener.getsockname()[1]}"
            (settings.data_dir / "url").write_text(url + "\n")
            _announce(settings, url, key, sandbox)
            _run(settings, database, rings, sandbox, listener)
        finally:
            (settings.data_dir / "url").unlink(missing_ok=True)
            database.close()
            listener.close()


def check_address(host: str, sandbox: Found) -> None:
    """Others may use the service only where what they send is closed in."""
    if sandbox.level != "full" and not is_loopback(host):
        raise RequestInvalid(
            f"{host} is reachable from other machines, and the computation can only be limited here, not closed in: "
            + "; ".join(sandbox.missing),
            hint="Bind to 127.0.0.1, or run on Linux with Landlock (5.13 or newer).",
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def ensure_key(settings: Settings, database: Database) -> str:
    """The embedded service's own key, made once and kept in the data folder, for its owner's eyes only."""
    path = settings.key_file
    if path.exists():
        return path.read_text().strip()
    with database.write() as session:
        _, text = keys.issue(session, settings, projects.ensure(session).id, "embedded")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    return text


def take_back(settings: Settings, database: Database) -> list[str]:
    """Jobs of a service that died here, queued again: whoever holds the folder's lock knows that their owner is gone.

    Leases in another database than the folder's own may be those of living workers, and end in their own time.
    """
    if settings.database_url != Settings.own_database_url(settings.data_dir):
        return []
    with database.write() as session:
        taken = leases.reap_all(session, settings)
    if taken:
        log.warning("taken_back", jobs=taken)
    for job_id in taken:
        logs.archive(database, open_blobs(settings), job_id)
    return taken


def places(settings: Settings, database: Database) -> list[Place]:
    """A lane for looking at models, one for the processor, one for each GPU."""
    blobs = open_blobs(settings)
    cache = BlobCache(settings.data_dir / "cache", blobs, settings.cache_bytes)
    wanted = [(INSPECT, "cpu", ""), (DEVICE, "cpu", ""), *((DEVICE, "cuda", uuid) for uuid in visible_gpus())]
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    return [
        Place(settings, database, blobs, cache, f"{name}-{lane}-{uuid or device}", lane, device, uuid)
        for lane, device, uuid in wanted
    ]


def _run(settings: Settings, database: Database, rings: LocalRings, sandbox: Found, listener: socket.socket) -> None:
    app = create_app(settings, database=database, blobs=open_blobs(settings), sandbox=sandbox.level)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GOODBYE_S)
    stop = threading.Event()
    keeper = threading.Thread(target=Keeper(settings, database, open_blobs(settings)).run, args=(stop,), name="keeper")
    lanes = Lanes(places(settings, database), rings)
    lanes.start()
    keeper.start()
    try:
        serve_until_told(config, [listener])
    finally:
        stop.set()
        lanes.stop()
        keeper.join()


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    with file_lock(data_dir / "service.lock", wait=False) as is_ours:
        if not is_ours:
            raise Conflict(f"a service runs on {data_dir} already", hint="Use it, or choose another --data-dir.")
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Conflict(f"{host}:{port} can't be had: {error.strerror}", hint="Choose another --port.") from None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(settings: Settings, url: str, key: str, sandbox: Found) -> None:
    lines = [
        f"ModelPress on {url}",
        f"  key      {key}",
        f"  data     {settings.data_dir}",
        f"  sandbox  {sandbox.level}",
    ]
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    log.info("up", url=url, sandbox=sandbox.level, missing=sandbox.missing)
