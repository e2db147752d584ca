"""Columns: the raw values of one input, sample by sample, wherever they lie."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Column(Protocol):
    """Raw values of one input (or the labels) of all samples."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one raw sample."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        """(len(indices), *sample_shape), in the order of `indices`."""
        ...


class ArrayColumn:
    """Samples along the first axis of an array, in memory or mapped from disk."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.array.shape[1:]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        return np.asarray(self.array[indices])


class JoinedColumn:
    """Several columns end to end, as the files of a data set are."""

    def __init__(self, parts: Sequence[Column]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    @property
    def dtype(self) -> np.dtype:
        return self.parts[0].dtype

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.parts[0].sample_shape

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        owner = np.searchsorted(self.ends, indices, side="right")
        rows = np.empty((len(indices), *self.sample_shape), self.dtype)
        for number in np.unique(owner):
            here = owner == number
            start = self.ends[number] - len(self.parts[number])
            rows[here] = self.parts[number].take(indices[here] - start)
        return rows
