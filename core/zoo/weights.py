"""Where the weights of a network that is being written come from: a generator, a checkpoint, or nowhere."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from core.network.limits import check_allocation

Shape = tuple[int, ...]
Weights = Callable[[str, Shape, float | None], np.ndarray]
"""From name, shape and the value to start from (None: drawn at random) to the float32 tensor."""


def drawn(seed: int) -> Weights:
    """Fresh weights: He et al. 2015, arXiv:1502.01852, equation 10, variance 2 / fan-in.

    What is returned raises ModelTooLarge for a tensor that no honest network has.
    """
    random = np.random.default_rng(seed)

    def draw(name: str, shape: Shape, start: float | None) -> np.ndarray:
        check_allocation(shape)
        if start is not None:
            return np.full(shape, start, np.float32)
        return random.normal(0.0, math.sqrt(2.0 / math.prod(shape[1:])), shape).astype(np.float32)

    return draw


def held(tensors: Mapping[str, np.ndarray]) -> Weights:
    """Those of a checkpoint that is known to fit, of any real type."""
    return lambda name, shape, start: np.asarray(tensors[name], np.float32)


def shapes_only(name: str, shape: Shape, start: float | None) -> np.ndarray:
    """A tensor of that shape that takes no memory, for asking what a network consists of."""
    return np.broadcast_to(np.float32(0.0), shape)
