"""Telling the database what a job says and where it could go on, in a thread of its own: slow stores stop nothing."""

import threading
import time
from pathlib import Path

import structlog

from modelpress.events import CoreEvent
from store import contents, events, leases, logs
from store.claims import Claimed
from store.leases import LeaseLost
from worker import checkpoints
from worker.lease import UNREACHABLE, Lease
from worker.place import Place

MOST_WAITING_BYTES = 4 << 20
MOST_WAITING_EVENTS = 2000
CHECKPOINT_EVERY_S = 600.0
"""A long fit keeps what it has reached now and then; so do we."""
LEFT_OUT = b"\n[output left out: more came than could be stored]\n"

log = structlog.get_logger(__name__)


class Teller:
    """Takes events and log pieces at once, writes them every poll; keeps a bounded number while it can't."""

    def __init__(self, place: Place, claimed: Claimed, lease: Lease, job_dir: Path) -> None:
        self._place, self._claimed, self._lease, self._job_dir = place, claimed, lease, job_dir
        self._lock = threading.Lock()
        self._events: list[CoreEvent] = []
        self._log = bytearray()
        self._has_checkpoint = False
        self._saved: dict[str, int] = {}
        self._saved_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"teller-{claimed.token[:8]}", daemon=True)

    def __enter__(self) -> "Teller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def say(self, said: list[CoreEvent], output: bytes) -> None:
        with self._lock:
            self._events = [*self._events, *said][-MOST_WAITING_EVENTS:]
            self._has_checkpoint = self._has_checkpoint or any(e.type == "step.finished" for e in said)
            if len(self._log) + len(output) <= MOST_WAITING_BYTES:
                self._log += output
            elif not self._log.endswith(LEFT_OUT):
                self._log += LEFT_OUT

    def _work(self) -> None:
        while not self._over.wait(self._place.settings.poll_seconds):
            try:
                self.tell()
                if self._has_checkpoint or time.monotonic() > self._saved_at + CHECKPOINT_EVERY_S:
                    self._has_checkpoint, self._saved_at = False, time.monotonic()
                    self.save_checkpoint()
            except LeaseLost:
                return self._lease.stop("lease_lost")
            except (
                Exception
            ) as error:  # whatever a store raises when it is away: the job goes on, the next poll tries again
                log.warning("telling_failed", job_id=self._claimed.job_id, error=repr(error))

    def tell(self) -> None:
        """Write what waits. Raises LeaseLost."""
        with self._lock:
            said, output = self._events, bytes(self._log)
            self._events = []
            self._log.clear()
        if not said and not output:
            return
        try:
            with self._place.database.write() as session:
                if said:
                    events.record(session, self._place.settings, self._claimed.token, said)
                logs.append(session, self._place.settings, self._claimed.token, output)
        except UNREACHABLE:
            with self._lock:
                self._events = [*said, *self._events][-MOST_WAITING_EVENTS:]
                self._log[:0] = output
            raise

    def save_checkpoint(self) -> None:
        """Keep what the job has reached, if that is more than before, as a blob that its next attempt starts from.

        Raises LeaseLost.
        """
        folder, packed = self._job_dir / "checkpoints", self._job_dir.with_suffix(".checkpoint")
        reached = checkpoints.listing(folder)
        if reached == self._saved:
            return
        try:
            if not checkpoints.pack(folder, packed):
                return
            content = contents.keep(self._place.database, self._place.blobs, self._claimed.project_id, packed)
            with self._place.database.write() as session:
                leases.save_checkpoint(session, self._claimed.token, content)
            self._saved = reached
        finally:
            packed.unlink(missing_ok=True)
