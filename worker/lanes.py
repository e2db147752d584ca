"""The embedded service's workers: threads that claim and run jobs, each a lane of its own."""

import threading
from collections.abc import Sequence

import structlog

from store.rings import LocalRings
from worker.folder import sweep
from worker.place import Place
from worker.presence import Presence
from worker.supervise import run_next_job

log = structlog.get_logger(__name__)


class Lanes:
    """Runs the places' jobs from `start` to `stop`."""

    def __init__(self, places: Sequence[Place], rings: LocalRings) -> None:
        self._places, self._rings = places, rings
        self._presence = Presence(places)
        self._threads = [threading.Thread(target=self._run, args=(place,), name=place.worker_id) for place in places]

    def start(self) -> None:
        for place in self._places:
            sweep(place.jobs_dir)
        self._presence.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give running jobs back and return when all is written."""
        for place in self._places:
            place.draining.set()
            self._rings.ring(place.queue)
        for thread in self._threads:
            thread.join()
        self._presence.stop()

    def _run(self, place: Place) -> None:
        while not place.draining.is_set():
            try:
                ran = run_next_job(place)
            except Exception:  # a lane outlives whatever goes wrong with one job, or with the database
                log.exception("lane_failed", worker=place.worker_id)
                ran = None
            if ran is None:
                self._rings.wait(place.queue, place.settings.poll_seconds)
