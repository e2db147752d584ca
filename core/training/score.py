"""How good a network is on the selection data."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx

from core.training.lessons import Lessons
from core.training.objective import Objective


@dataclass(frozen=True)
class Score:
    """Fraction of labels met, where there are classes to meet, and the loss.

    The fraction decides; the loss where fractions are equal or there are none.
    """

    loss: float
    top1: float | None = None

    def is_better_than(self, other: "Score | None") -> bool:
        if other is None:
            return True
        return (self.top1 or 0.0, -self.loss) > (other.top1 or 0.0, -other.loss)

    def __str__(self) -> str:
        return f"loss {self.loss:.4g}" if self.top1 is None else f"{self.top1:.2%} right, loss {self.loss:.4g}"


@torch.no_grad()
def score(
    graph: fx.GraphModule, lessons: Lessons, objective: Objective, beat: Callable[[], None] = lambda: None
) -> Score:
    """Mean loss over all samples, and the fraction of labels met. `graph` is in eval mode afterwards.

    Args:
        beat: called after each batch.
    """
    graph.eval()
    loss, right, counted = 0.0, 0.0, 0
    for batch in lessons.ordered():
        found = graph(*batch.inputs)
        loss += float(objective(found, batch.wanted, batch.labels)) * len(batch)
        if objective.labels == "classes" and batch.labels is not None:
            right += float(objective.count_correct(found, batch.labels))
            counted += len(batch)
        beat()
    return Score(loss / len(lessons), right / counted if counted else None)
