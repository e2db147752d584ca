"""Samples: the prepared inputs and labels of one role, a batch at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.data.columns import Column
from core.data.preparation import prepare
from modelpress.data import Preparation

Batch = tuple[dict[str, Tensor], Tensor | None]


@dataclass(frozen=True)
class Feed:
    """One input of the model: where its raw values are and what makes them its input."""

    column: Column
    preparation: Preparation
    dtype: np.dtype

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        return prepare(self.column.take(indices), self.preparation, self.dtype)


@dataclass(frozen=True)
class Samples:
    """Some samples of a data set. Cheap to cut; values are read when a batch is asked for."""

    role: str
    feeds: Mapping[str, Feed]
    targets: np.ndarray | None
    """(all samples of the data set, ...) labels: int64 classes or float32 numbers."""
    indices: NDArray[np.int64]
    dataset: str = "train"

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of these samples, in their order."""
        return None if self.targets is None else self.targets[self.indices]

    def arrays(self, size: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Batches of at most `size` samples in order, as arrays."""
        for start in range(0, len(self.indices), size):
            yield self._at(self.indices[start : start + size])

    def batches(self, size: int, shuffle_generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of at most `size` samples as CPU tensors; the last one may be smaller.

        Args:
            shuffle_generator: a CPU generator that orders the samples; None keeps their order.

        Yields:
            Inputs by name, (batch, *shape), and (batch, ...) labels or None.
        """
        order = self.indices
        if shuffle_generator is not None:
            order = order[torch.randperm(len(order), generator=shuffle_generator).numpy()]
        for start in range(0, len(order), size):
            inputs, labels = self._at(order[start : start + size])
            tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
            yield tensors, None if labels is None else torch.from_numpy(labels)

    def take(self, count: int) -> "Samples":
        """At most `count` of them, evenly spaced, so that data sorted by class stay balanced."""
        if count >= len(self):
            return self
        places = np.linspace(0, len(self) - 1, count).round().astype(np.int64) if count > 0 else np.array([], np.int64)
        return replace(self, indices=self.indices[places])

    def _at(self, indices: NDArray[np.int64]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        inputs = {name: feed.take(indices) for name, feed in self.feeds.items()}
        return inputs, None if self.targets is None else self.targets[indices]


@dataclass(frozen=True)
class Data:
    """The samples of a job by role. Steps see it without its test samples."""

    train: Samples
    calibrate: Samples
    select: Samples
    test: Samples
    is_synthetic: bool = False

    def without_test(self) -> "Data":
        """What steps and choices may see."""
        return replace(self, test=replace(self.test, indices=self.test.indices[:0]))

    @property
    def roles(self) -> list[Samples]:
        return [self.train, self.calibrate, self.select, self.test]
