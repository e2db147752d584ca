"""The full service's processes other than workers: the API behind any number of workers, and the keeper."""

import signal
import threading

import uvicorn

from api.app import create_app
from server.http import serve_until_told
from server.keeper import Keeper
from store.blobs import open_blobs
from store.broker import CeleryRings
from store.database import Database
from store.rings import NoRings, Rings
from store.settings import Settings
from worker.protect import hide_memory
from worker.sandbox import probe

GOODBYE_S = 10


def serve_api(settings: Settings, host: str, port: int) -> None:
    """Serve until told to stop."""
    hide_memory()
    database = Database(settings.database_url, _rings(settings))
    try:
        app = create_app(settings, database=database, blobs=open_blobs(settings), sandbox=probe().level)
        config = uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=GOODBYE_S
        )
        serve_until_told(config)
    finally:
        database.close()


def keep(settings: Settings) -> None:
    """Be the keeper, or stand by, until told to stop."""
    hide_memory()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(settings.database_url, _rings(settings), pool_size=4)
    try:
        Keeper(settings, database, open_blobs(settings)).run(stop)
    finally:
        database.close()


def _rings(settings: Settings) -> Rings:
    return CeleryRings(settings.redis_url) if settings.redis_url else NoRings()
