"""Holding a job: beats for its lease, and looks for cancel, in a thread that does nothing else."""

import threading
import time
from types import TracebackType

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store import leases
from store.leases import LeaseLost
from worker.child import Child, Reason
from worker.place import Place

GIVE_UP_S = 600.0
"""A database away for so long: nobody can take the job meanwhile, but its result will hardly be wanted."""

UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)

log = structlog.get_logger(__name__)


class Lease:
    """Keeps a claimed job ours while the block runs, and stops the child when it is no longer ours or wanted."""

    def __init__(self, place: Place, token: str) -> None:
        self._place, self._token = place, token
        self._settings = place.settings
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._reason: Reason | None = None
        self._thread = threading.Thread(target=self._hold, name=f"lease-{token[:8]}", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._thread.join()

    def release(self) -> None:
        """The job is over: no more beats."""
        self._over.set()

    @property
    def reason(self) -> Reason | None:
        """Why the job must stop, as soon as that is known."""
        return self._reason

    def watch(self, child: Child) -> None:
        """Stop this child too, if the job must stop."""
        with self._lock:
            self._child = child
            if self._reason is not None:
                child.stop(self._reason, self._grace(self._reason))

    def stop(self, reason: Reason) -> None:
        with self._lock:
            if self._reason is None or reason == "lease_lost":
                self._reason = reason
            if self._child is not None:
                self._child.stop(reason, self._grace(reason))

    def _grace(self, reason: Reason) -> float:
        if reason == "lease_lost":
            return 0.0
        return self._settings.drain_seconds if reason == "drained" else self._settings.grace_seconds

    def _hold(self) -> None:
        next_beat = reached = time.monotonic()
        while not self._over.wait(min(self._settings.poll_seconds, self._settings.beat_seconds)):
            try:
                if time.monotonic() >= next_beat:
                    beat = self._beat()
                    next_beat = time.monotonic() + self._settings.beat_seconds
                else:
                    beat = self._look()
                reached = time.monotonic()
            except LeaseLost:
                log.info("lease_over", lease=self._token[:8])
                return self.stop("lease_lost")
            except UNREACHABLE as error:
                log.warning("database_unreachable", error=type(error).__name__)
                if time.monotonic() - reached > GIVE_UP_S:
                    return self.stop("unreachable")
                continue
            if beat.cancel_requested:
                self.stop("cancelled")
            elif self._place.draining.is_set():
                self.stop("drained")

    def _beat(self) -> leases.Beat:
        with self._place.database.write() as session:
            return leases.heartbeat(session, self._settings, self._token)

    def _look(self) -> leases.Beat:
        with self._place.database.read() as session:
            return leases.look(session, self._token)
