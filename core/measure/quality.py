"""How good a model file is: the task's figures, and how far it agrees with the original."""

from collections.abc import Iterator

import numpy as np

from core.data.samples import Samples
from core.measure.figures import Figure
from core.measure.runner import Runner
from core.tasks import MatchScore, score_of
from modelpress.task import Match, Task

BATCH = 64
KEPT_BYTES = 2**28


class Reference:
    """The original's judged output on the samples of a role, remembered where it is small."""

    def __init__(self, runner: Runner, output: str) -> None:
        self.runner, self.output = runner, output
        self._kept: dict[str, list[np.ndarray]] = {}

    def outputs(self, samples: Samples) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None, np.ndarray]]:
        """Inputs, labels and the original's output, batch by batch."""
        kept = self._kept.get(samples.role)
        fresh: list[np.ndarray] = []
        for number, (inputs, labels) in enumerate(samples.arrays(BATCH)):
            output = kept[number] if kept is not None else self.runner.run(inputs)[self.output]
            if kept is None and sum(part.nbytes for part in fresh) < KEPT_BYTES:
                fresh.append(output)
            yield inputs, labels, output
        if kept is None and len(fresh) * BATCH >= len(samples):
            self._kept[samples.role] = fresh


def measure_quality(task: Task, runner: Runner, samples: Samples, reference: Reference) -> list[Figure]:
    """The task's figures, the main one first, then agreement with the original.

    Empty samples give nothing: what was not measured is not guessed.
    """
    if not len(samples):
        return []
    score, match = score_of(task), MatchScore()
    for inputs, labels, expected in reference.outputs(samples):
        output = expected if runner is reference.runner else runner.run(inputs)[reference.output]
        score.add(output, labels, expected)
        if not isinstance(task, Match):
            match.add(output, labels, expected)
    return score.figures() + ([] if isinstance(task, Match) else match.figures())
