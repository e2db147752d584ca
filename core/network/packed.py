"""Integers of few bits that share bytes."""

import numpy as np


def split_bits(packed: np.ndarray, bits: int) -> np.ndarray:
    """Bytes to their parts of `bits` bits along the last axis, lowest first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (packed[..., None] >> shifts) & (2**bits - 1)
    return parts.reshape(*packed.shape[:-1], -1)
