"""What a technique may use while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from core.clock import Clock
from core.data.samples import Data
from core.decisions import Decisions
from core.network.network import Network
from core.training.fit import FitReport
from core.training.teach import teach
from modelpress.task import Task

T = TypeVar("T")
Say = Callable[[float, str], None]
Warn = Callable[[str, str], None]


@dataclass
class Context:
    """One step's view of the job.

    Attributes:
        data: samples by role; `data.test` is empty, since no step sees the test samples.
        original: the network as it was read, frozen, on `device`: the teacher.
        generator: on the CPU, seeded from the job's seed and the step's place.
        folder: a place of the step's own, kept when the job is cut off and removed when the step is done.
        notes: what the step did, layer by layer; part of the report.
    """

    data: Data
    task: Task
    original: Network
    device: torch.device
    generator: torch.Generator
    folder: Path
    step: int
    clock: Clock
    decisions: Decisions
    say: Say
    tell: Warn
    notes: list[str] = field(default_factory=list)
    _fits: int = 0

    def progress(self, fraction: float, message: str = "") -> None:
        """How far this step is, from 0 to 1. Ends the step when the job is stopped or out of time: call it often."""
        self.clock.check()
        self.say(fraction, message)

    def warn(self, code: str, message: str) -> None:
        """Something the user should know; goes into the events and the report."""
        self.tell(code, message)

    def note(self, text: str) -> None:
        """One line of the report on what was done or left alone, and why."""
        self.notes.append(text)

    def decide(self, key: str, choose: Callable[[], T], because: str = "") -> T:
        """A choice that rests on a measured time: made once, recorded, and replayed when the job is resumed.

        Args:
            key: unique within the step.
            choose: gives something that survives JSON.
        """
        return self.decisions.decide(f"{self.step}/{key}", choose, because)

    def fit(self, network: Network, **how: Any) -> FitReport:
        """Train `network` in place; `core.training.teach.teach` says what may be asked. A cut-off fit goes on."""
        self._fits += 1
        return teach(network, self, state=self.folder / f"fit-{self._fits}.safetensors", **how)
