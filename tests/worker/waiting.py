"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable


def until(is_so: Callable[[], object], seconds: float = 30.0) -> None:
    """Return as soon as it is so; fail where it never is."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
