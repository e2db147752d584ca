"""The keeper: what nobody asks for and somebody must do. It rings, reaps, and tidies up.

One at a time, elected by a lock in the database; a second one stands by. Nothing it does is wrong if done twice.
"""

import time
from typing import Protocol

import structlog

from store import claims, contents, idempotency, jobs, leases, logs, uploads, workers
from store.blobs import Blobs
from store.database import Database
from store.settings import Settings

TIDY_S = 60.0

log = structlog.get_logger(__name__)


class Stop(Protocol):
    def wait(self, timeout: float) -> bool: ...
    def is_set(self) -> bool: ...


class Keeper:
    def __init__(self, settings: Settings, database: Database, blobs: Blobs) -> None:
        self._settings, self._database, self._blobs = settings, database, blobs
        self._pause = min(settings.re_ring_seconds, settings.lease_seconds / 4)

    def run(self, stop: Stop) -> None:
        """Until `stop` is set. Whatever fails is logged and tried again."""
        while not stop.is_set():
            try:
                with self._database.alone("keeper") as is_elected:
                    if is_elected:
                        self._keep(stop)
            except Exception:  # the database is away, most likely: stand for election again when it is back
                log.exception("keeper_failed")
            stop.wait(self._pause)

    def _keep(self, stop: Stop) -> None:
        started, tidied = time.monotonic(), 0.0
        log.info("keeper_elected")
        while not stop.is_set():
            # Workers could not beat while the database was away, and it may just have come back, as we have.
            if time.monotonic() > started + self._settings.lease_seconds:
                self.reap()
            self.time_out()
            self.ring()
            if time.monotonic() > tidied + TIDY_S:
                tidied = time.monotonic()
                self.tidy()
            stop.wait(self._pause)

    def reap(self) -> list[str]:
        """Take jobs from workers that fell silent."""
        with self._database.write() as session:
            reaped = leases.reap_expired(session, self._settings)
        if reaped:
            log.warning("leases_expired", jobs=reaped)
        for job_id in reaped:
            logs.archive(self._database, self._blobs, job_id)
        return reaped

    def time_out(self) -> list[str]:
        """End jobs that waited for a device longer than they wanted to."""
        with self._database.write() as session:
            late = jobs.time_out_queued(session)
        if late:
            log.info("queue_timeouts", jobs=late)
        return late

    def ring(self) -> dict[str, int]:
        """Ring each queue that waits as often as somebody may hear it."""
        with self._database.read() as session:
            waiting, live = claims.eligible(session, self._settings), workers.live(session, self._settings)
        rings = {queue: min(count, live.get(queue, 0)) for queue, count in waiting.items()}
        for queue, count in rings.items():
            for _ in range(count):
                self._database.rings.ring(queue)
        return rings

    def tidy(self) -> None:
        """Remove what nobody wants any more."""
        dropped = uploads.expire(self._database, self._blobs)
        collected = contents.collect_garbage(self._database, self._blobs, self._settings)
        with self._database.write() as session:
            workers.forget_old(session)
            idempotency.forget_old(session, self._settings)
        with self._database.read() as session:
            unarchived = logs.unarchived(session)
        for job_id in unarchived:
            logs.archive(self._database, self._blobs, job_id)
        if dropped or collected:
            log.info("tidied", uploads=dropped, blobs=collected)
