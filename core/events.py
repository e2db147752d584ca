"""Writes `events.jsonl`: one typed event a line, flushed at once, so that the supervisor sees it.

What a person follows a job by is said on stderr as well, a plain line each: the supervisor keeps it as the log.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path

from modelpress.events import CoreEvent, MetricEvent, Progress, StepFinished, StepStarted, WarningEvent
from modelpress.result import Measurement

MOST_MESSAGE = 500  # characters; the supervisor cuts longer lines off
PROGRESS_EVERY_SECONDS = 0.2
LOG_EVERY_SECONDS = 1.0  # for progress; what ends or starts is always logged


class Events:
    """The events of one job. A resumed job goes on in the same file."""

    def __init__(self, path: Path) -> None:
        cut_off = path.is_file() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self.file = path.open("a", encoding="utf-8")
        self.file.write("\n" if cut_off else "")  # a killed run may have left half a line
        self.began = time.monotonic()
        self._said = 0.0
        self._logged = ("", 0.0)
        self._place: tuple[str, int | None] = ("", None)

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def step_started(self, step: int, technique: str) -> None:
        self._write(StepStarted(step=step, technique=technique))
        log(f"step {step} ({technique}) started")

    def step_finished(self, step: int, technique: str, status: str, seconds: float) -> None:
        self._write(StepFinished(step=step, technique=technique, status=status, seconds=round(seconds, 3)))
        log(f"step {step} ({technique}) {status} after {seconds:.1f} s")

    def progress(self, phase: str, fraction: float, message: str = "", step: int | None = None) -> None:
        """Say how far the whole job is; what comes too fast after the last word of a phase and step is left out."""
        now = time.monotonic()
        if (phase, step) == self._place and now - self._said < PROGRESS_EVERY_SECONDS and fraction < 1.0:
            return
        self._said, self._place = now, (phase, step)
        fraction = min(max(fraction, 0.0), 1.0)
        self._log_progress(phase, fraction, message, now)
        left = (now - self.began) / fraction * (1.0 - fraction) if fraction > 0.02 else None
        self._write(
            Progress(
                phase=phase,
                fraction=round(fraction, 4),
                step=step,
                message=message[:MOST_MESSAGE],
                seconds_left=None if left is None else round(left, 1),
            )
        )

    def _log_progress(self, phase: str, fraction: float, message: str, now: float) -> None:
        """Log a new phase at once, and a new message of the same phase when the last is long enough ago."""
        text = f"{phase}: {message}" if message else phase
        told, when = self._logged
        is_new_phase = told.partition(":")[0] != phase
        if is_new_phase or (text != told and now - when >= LOG_EVERY_SECONDS):
            self._logged = (text, now)
            log(f"{fraction:4.0%} {text}")

    def note(self, step: int, technique: str, text: str) -> None:
        """What a step did or left alone; into the log alone, since the result holds it."""
        log(f"step {step} ({technique}): {text}")

    def metric(self, measurement: Measurement) -> None:
        self._write(
            MetricEvent(
                subject=measurement.subject, metric=measurement.metric, value=measurement.value, unit=measurement.unit
            )
        )

    def warning(self, code: str, message: str) -> None:
        self._write(WarningEvent(code=code, message=message[:MOST_MESSAGE]))
        log(f"warning, {code}: {message}")

    def _write(self, event: CoreEvent) -> None:
        self.file.write(event.model_dump_json() + "\n")
        self.file.flush()


def log(text: str) -> None:
    """One line on stderr. Names in it come from hostile files: what would not print as one line is replaced."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:MOST_MESSAGE])
    with suppress(OSError):  # nobody reads it any more; the job is worth more than its log
        sys.stderr.write(line + "\n")
