"""Rings: "there may be work in this queue". Losing one loses nothing: the row is the truth, the keeper rings again.

A queue is named after who may take from it: `modelpress.inspect` for the inspection lane, and a queue for each
device class, such as `modelpress.cpu`.
"""

import threading
from typing import Protocol

INSPECT = "inspect"
DEVICE = "device"
"""The two lanes: what hashes and inspects, and what occupies a device."""

TASK = "modelpress.run_next_job"


def queue_name(lane: str, device_class: str = "") -> str:
    return f"modelpress.{INSPECT if lane == INSPECT else device_class}"


class Rings(Protocol):
    def ring(self, queue: str) -> bool:
        """Say that `queue` may hold work; whether anybody was told."""
        ...

    def close(self) -> None: ...


class NoRings:
    """Nobody listens: tests and one-off commands."""

    def ring(self, queue: str) -> bool:
        return False

    def close(self) -> None:
        return None


class LocalRings:
    """Wakes threads of this process."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def _event(self, queue: str) -> threading.Event:
        with self._lock:
            return self._events.setdefault(queue, threading.Event())

    def ring(self, queue: str) -> bool:
        self._event(queue).set()
        return True

    def wait(self, queue: str, seconds: float) -> bool:
        """Sleep until `queue` is rung or the time is over; whether it was rung. One listener a queue."""
        event = self._event(queue)
        rung = event.wait(seconds)
        event.clear()
        return rung

    def close(self) -> None:
        """Wake everybody, so that they see that it is time to go."""
        with self._lock:
            for event in self._events.values():
                event.set()
