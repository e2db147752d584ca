"""Identities of channels: numbers that are united when two channels must live or die together."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from core.network import limits
from modelpress.problem import ModelTooLarge

Ids = NDArray[np.int64]

NONE: Ids = np.empty(0, dtype=np.int64)


class Identities:
    """Union-find over channel identities, filled edge by edge and resolved all at once."""

    def __init__(self) -> None:
        self._count = 0
        self._edges: list[tuple[Ids, Ids]] = []
        self._locks: list[tuple[Ids, str]] = []

    def fresh(self, count: int) -> Ids:
        """New identities, united with nothing.

        Raises:
            ModelTooLarge: more than any network has, such as of a tensor that is padded without end.
        """
        if self._count + count > limits.MAX_CHANNELS:
            raise ModelTooLarge(f"the model has more than {limits.MAX_CHANNELS:,} channels")
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return ids

    def unite(self, first: Ids, second: Ids) -> None:
        """Unite element by element; the two have equal shapes."""
        if first.shape != second.shape:
            raise ValueError(f"can't unite identities of shape {first.shape} with {second.shape}")
        self._edges.append((first.ravel(), second.ravel()))

    def lock(self, ids: Ids, reason: str) -> None:
        """Keep these and all that is united with them for ever, for a reason that a user understands."""
        self._locks.append((ids.ravel(), reason))

    def resolve(self) -> tuple[Ids, dict[int, str]]:
        """Number the classes from 0 in order of first appearance.

        Returns:
            (identities,) class of each identity, and the first reason for each locked class.
        """
        root = np.arange(self._count, dtype=np.int64)
        if self._edges:
            first, second = (np.concatenate(side) for side in zip(*self._edges, strict=True))
            _contract(root, first, second)
        _, classes = np.unique(root, return_inverse=True)
        locked: dict[int, str] = {}
        is_locked = np.zeros(self._count, dtype=bool)
        for ids, reason in self._locks:
            units = np.unique(classes[ids[~is_locked[classes[ids]]]])
            is_locked[units] = True
            locked.update(dict.fromkeys(units.tolist(), reason))
        return classes.astype(np.int64), locked


def _contract(root: Ids, first: Ids, second: Ids) -> None:
    """Bring every identity to the least one it is connected with, by hooking and pointer jumping."""
    while True:
        low, high = np.minimum(root[first], root[second]), np.maximum(root[first], root[second])
        if np.array_equal(low, high):
            return
        np.minimum.at(root, high, low)
        while not np.array_equal(root, jumped := root[root]):
            root[:] = jumped


def kept_positions(ids: Ids, removed: NDArray[np.bool_]) -> Ids:
    """Positions along an axis that remain when the classes marked in `removed` go; `ids` are classes."""
    return np.flatnonzero(~removed[ids])


def unit_mask(units: Iterable[int], count: int) -> NDArray[np.bool_]:
    """(count,) True for the given units."""
    mask = np.zeros(count, dtype=bool)
    mask[list(units)] = True
    return mask
