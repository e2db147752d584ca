"""Saying that a worker is alive: for display, for `device: auto`, for the keeper's rings. No lease depends on it."""

import threading
from collections.abc import Sequence

import structlog

from store import workers
from worker.lease import UNREACHABLE
from worker.place import Place

log = structlog.get_logger(__name__)


class Presence:
    """A thread that writes the `workers` rows of some places, all on one database."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._database, self._settings = places[0].database, places[0].settings
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        try:
            with self._database.write() as session:
                for place in self._places:
                    workers.gone(session, place.worker_id)
        except UNREACHABLE as error:
            log.warning("presence_not_removed", error=repr(error))

    def _work(self) -> None:
        while True:
            try:
                with self._database.write() as session:
                    for place in self._places:
                        workers.seen(session, place.worker_id, place.queue, {"device": place.cuda_device or "cpu"})
            except UNREACHABLE as error:
                log.warning("presence_not_written", error=repr(error))
            if self._over.wait(self._settings.worker_seen_seconds / 4):
                return
