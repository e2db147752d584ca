"""How often a key may ask, counted by this process alone."""

import threading
import time

from store.problems import RateLimited


class RateLimits:
    """A bucket a key, full at first, refilled evenly over the minute. 0 a minute means no limit."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def spend(self, key_id: str) -> None:
        """Take one request from the key's bucket. Raises RateLimited."""
        if not self._most:
            return
        now, rate = time.monotonic(), self._most / 60.0
        with self._lock:
            left, before = self._buckets.get(key_id, (self._most, now))
            left = min(self._most, left + (now - before) * rate)
            self._buckets[key_id] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            wait = (1 - left) / rate
            raise RateLimited(f"at most {self._most:g} requests a minute", retry_after=wait)
