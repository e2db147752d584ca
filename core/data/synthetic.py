"""Inputs made up when no data were given: they exercise a network, and say nothing about its accuracy."""

import numpy as np
from numpy.typing import NDArray

from core.data.samples import Feed
from core.interface import Interface, Port
from modelpress.data import Preparation
from modelpress.problem import ModelTooLarge

COUNT = 512  # samples: enough for ranges and statistics, few enough to measure on in seconds
IMAGE_SIDE = 224
OTHER_SIZE = 16
MAX_SAMPLE_BYTES = 2**28


class SyntheticColumn:
    """Seeded random samples, made when they are asked for: the same index gives the same sample.

    Floating inputs are standard normal, integers 0 or 1, which are legal as indices of nearly any table.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, count: int, seed: tuple[int, ...]) -> None:
        self.sample_shape, self.dtype, self.count, self.seed = shape, dtype, count, seed

    def __len__(self) -> int:
        return self.count

    def take(self, indices: NDArray[np.int64]) -> np.ndarray:
        rows = np.empty((len(indices), *self.sample_shape), self.dtype)
        for row, index in enumerate(indices):
            rows[row] = self._make(np.random.default_rng((*self.seed, int(index))))
        return rows

    def _make(self, generator: np.random.Generator) -> np.ndarray:
        if np.issubdtype(self.dtype, np.floating):
            return generator.standard_normal(self.sample_shape, np.float32).astype(self.dtype)
        return generator.integers(0, 2, self.sample_shape).astype(self.dtype)


def synthetic_feeds(interface: Interface, seed: int) -> dict[str, Feed]:
    """A feed of made-up values for every input.

    Raises:
        ModelTooLarge: one sample would be absurdly big.
    """
    return {
        port.name: Feed(
            SyntheticColumn(concrete_shape(port), port.dtype, COUNT, (seed, number)), Preparation(), port.dtype
        )
        for number, port in enumerate(interface.inputs)
    }


def concrete_shape(port: Port) -> tuple[int, ...]:
    """The shape of one sample, with a usual size wherever the model leaves it free."""
    free = IMAGE_SIDE if len(port.shape) == 4 and np.issubdtype(port.dtype, np.floating) else OTHER_SIZE
    shape = tuple(size if isinstance(size, int) else free for size in port.sample_shape)
    if np.prod(shape, dtype=float) * port.dtype.itemsize > MAX_SAMPLE_BYTES:
        raise ModelTooLarge(f"one sample of the input {port} would take more than {MAX_SAMPLE_BYTES:,} bytes")
    return shape
