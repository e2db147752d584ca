"""The job's time: how much of it is used, and whether somebody asked us to stop."""

import signal
import threading
import time

from modelpress.problem import OutOfTime

SHARE_KEPT_BACK = 0.1
MOST_KEPT_BACK = 60.0  # seconds


class Stopped(BaseException):
    """SIGTERM came: leave what is on disk as it is and end. No error of ours may catch it."""


class Clock:
    """Counts running seconds and says when to stop.

    A part of the time is kept back for handing over: measuring the best network and writing the report.

    Args:
        limit: most seconds of this run.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit - min(MOST_KEPT_BACK, SHARE_KEPT_BACK * limit)
        self._began = time.monotonic()
        self._stop = threading.Event()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def listen(self) -> None:
        """Stop at SIGTERM from now on; the handler only sets a flag."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def check(self) -> None:
        """Raise Stopped after SIGTERM, and OutOfTime once the limit is reached."""
        if self._stop.is_set():
            raise Stopped
        if self.seconds > self.limit:
            raise OutOfTime(
                f"the job has run for {self.seconds:.0f} s, all that its budget has for steps",
                hint="Raise `budget.run_seconds`, or ask for fewer epochs.",
            )
