"""Which constants beside layers were trained: position embeddings, class tokens, biases of relative positions.

A file does not say. Vectors that arithmetic uses are taken to be trained whatever they hold; a table, which may as well
be a mask or a grid, only where the file stores it and its numbers look it. A stored table of sines does, too.
"""

import numpy as np

LARGEST = 1000  # of a trained number; masks hold larger ones

MOVES = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Cast", "DequantizeLinear"}
"""Operators whose result holds what their first input does."""

PICKS = MOVES | {"Gather", "Slice"}
"""Operators whose result holds what their first input does, or some of it."""


def looks_trained(values: np.ndarray) -> bool:
    """Whether floats are neither a mask (two values, or huge ones) nor a grid (whole numbers and halves)."""
    flat = values.reshape(-1)
    if flat.size < 2 or not np.abs(flat).max() <= LARGEST:
        return False
    is_mask = bool(np.isin(flat, [flat.min(), flat.max()]).all())
    return not is_mask and bool((2 * flat % 1 != 0).any())


def long_axes(values: np.ndarray) -> int:
    return sum(size > 1 for size in values.shape)
