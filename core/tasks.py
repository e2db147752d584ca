"""Tasks: what a model's output is worth, against labels or against the original's output.

The first figure of a task is its main one: what `max_drop` limits and the objective `metric` compares.
"""

from typing import Protocol

import numpy as np

from core.measure.figures import Figure, mean, percentile_interval, resampled_means, share
from modelpress.task import Classification, Match, Regression, Task

TOP = 5


class Score(Protocol):
    """Collects batches, then tells its figures."""

    def add(self, output: np.ndarray, labels: np.ndarray | None, reference: np.ndarray) -> None:
        """
        Args:
            output: (batch, ...) of the model that is judged.
            labels: (batch, ...) or None.
            reference: (batch, ...) the original's output for the same inputs.
        """
        ...

    def figures(self) -> list[Figure]: ...


def score_of(task: Task) -> Score:
    match task:
        case Classification():
            return TopScore()
        case Regression():
            return ErrorScore()
        case Match():
            return MatchScore()


class TopScore:
    """`top1`, and `top5` where there are more than five classes, with Wilson intervals."""

    def __init__(self) -> None:
        self.first: list[np.ndarray] = []
        self.top: list[np.ndarray] = []

    def add(self, output: np.ndarray, labels: np.ndarray | None, reference: np.ndarray) -> None:
        assert labels is not None, "classification data were loaded without labels"
        scores = as_classes(output)
        if scores is None:
            raise ValueError(f"an output of shape {output.shape} has no axis of classes")
        own = np.take_along_axis(scores, labels[:, None], axis=1)
        columns = np.arange(scores.shape[1])
        # Ties go to the lower class, as argmax has it.
        rank = (scores > own).sum(axis=1) + ((scores == own) & (columns < labels[:, None])).sum(axis=1)
        self.first.append(rank < 1)
        if scores.shape[1] > TOP:
            self.top.append(rank < TOP)

    def figures(self) -> list[Figure]:
        figures = [share("top1", concatenated(self.first))]
        return [*figures, share("top5", concatenated(self.top))] if self.top else figures


class ErrorScore:
    """`rmse`, `mae` and `r2`, with bootstrap intervals over samples."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def add(self, output: np.ndarray, labels: np.ndarray | None, reference: np.ndarray) -> None:
        assert labels is not None, "regression data were loaded without labels"
        truth = labels.reshape(len(labels), -1).astype(np.float64)
        error = output.reshape(len(output), -1).astype(np.float64) - truth
        moments = [error**2, np.abs(error), truth, truth**2]
        self.rows.append(np.stack([moment.mean(axis=1) for moment in moments], axis=1))

    def figures(self) -> list[Figure]:
        rows = concatenated(self.rows, width=4)
        count = len(rows)
        if not count:
            return [Figure(metric, None, samples=0) for metric in ("rmse", "mae", "r2")]
        values = error_figures(rows.mean(axis=0))
        draws = error_figures(resampled_means(rows).T) if count > 1 else None
        figures = []
        for number, metric in enumerate(("rmse", "mae", "r2")):
            value = None if np.isnan(values[number]) else float(values[number])
            known = draws[number][~np.isnan(draws[number])] if draws is not None else np.array([])
            low, high = percentile_interval(known) if value is not None and len(known) else (None, None)
            figures.append(Figure(metric, value, "", low, high, count, higher_is_better=metric == "r2"))
        return figures


def error_figures(means: np.ndarray) -> np.ndarray:
    """(3, ...) rmse, mae, r2 out of (4, ...) means of squared error, absolute error, truth, squared truth.

    r2 is NaN where the truth does not vary.
    """
    squared, absolute, truth, truth_squared = means
    variance = truth_squared - truth**2
    varies = variance > 1e-12 * np.maximum(truth_squared, 1e-300)
    r2 = np.where(varies, 1.0 - squared / np.where(varies, variance, 1.0), np.nan)
    return np.stack([np.sqrt(squared), absolute, r2])


class MatchScore:
    """`agreement`, where the output has classes, and `relative_error` against the original's output."""

    def __init__(self) -> None:
        self.same: list[np.ndarray] = []
        self.errors: list[np.ndarray] = []

    def add(self, output: np.ndarray, labels: np.ndarray | None, reference: np.ndarray) -> None:
        ours, theirs = as_classes(output), as_classes(reference)
        if ours is not None and theirs is not None:
            self.same.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
        flat = reference.reshape(len(reference), -1).astype(np.float64)
        error = np.linalg.norm(output.reshape(len(output), -1) - flat, axis=1)
        size = np.linalg.norm(flat, axis=1)
        self.errors.append(np.where(error == 0, 0.0, error / np.maximum(size, np.finfo(np.float32).tiny)))

    def figures(self) -> list[Figure]:
        figures = [share("agreement", concatenated(self.same))] if self.same else []
        return [*figures, mean("relative_error", concatenated(self.errors), "ratio")]


def as_classes(output: np.ndarray) -> np.ndarray | None:
    """(batch, classes) of an output (batch, classes[, 1, ...]); None where it has another shape or one class."""
    if output.ndim < 2 or output.shape[1] < 2 or output[0].size != output.shape[1]:
        return None
    return output.reshape(len(output), -1)


def concatenated(parts: list[np.ndarray], width: int = 0) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, width) if width else 0)
