"""Writes `events.jsonl`: one typed event a line, flushed at once, so that the supervisor sees it."""

import time
from pathlib import Path

from modelpress.events import CoreEvent, MetricEvent, Progress, StepFinished, StepStarted, WarningEvent
from modelpress.result import Measurement

MOST_MESSAGE = 500  # characters; the supervisor cuts longer lines off
PROGRESS_EVERY_SECONDS = 0.2


class Events:
    """The events of one job. A resumed job goes on in the same file."""

    def __init__(self, path: Path) -> None:
        cut_off = path.is_file() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self.file = path.open("a", encoding="utf-8")
        self.file.write("\n" if cut_off else "")  # a killed run may have left half a line
        self.began = time.monotonic()
        self._said = 0.0
        self._place: tuple[str, int | None] = ("", None)

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def step_started(self, step: int, technique: str) -> None:
        self._write(StepStarted(step=step, technique=technique))

    def step_finished(self, step: int, technique: str, status: str, seconds: float) -> None:
        self._write(StepFinished(step=step, technique=technique, status=status, seconds=round(seconds, 3)))

    def progress(self, phase: str, fraction: float, message: str = "", step: int | None = None) -> None:
        """Say how far the whole job is; what comes too fast after the last word of a phase and step is left out."""
        now = time.monotonic()
        if (phase, step) == self._place and now - self._said < PROGRESS_EVERY_SECONDS and fraction < 1.0:
            return
        self._said, self._place = now, (phase, step)
        fraction = min(max(fraction, 0.0), 1.0)
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

    def metric(self, measurement: Measurement) -> None:
        self._write(
            MetricEvent(
                subject=measurement.subject, metric=measurement.metric, value=measurement.value, unit=measurement.unit
            )
        )

    def warning(self, code: str, message: str) -> None:
        self._write(WarningEvent(code=code, message=message[:MOST_MESSAGE]))

    def _write(self, event: CoreEvent) -> None:
        self.file.write(event.model_dump_json() + "\n")
        self.file.flush()
