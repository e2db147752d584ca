"""Who gets which samples: train, select and test, seeded and stratified by label, or as declared."""

import numpy as np
from numpy.typing import NDArray

from modelpress.data import Range, Splits
from modelpress.problem import DataError

Indices = NDArray[np.int64]


def split(
    count: int, labels: np.ndarray | None, splits: Splits, seed: int, names: tuple[str, ...]
) -> dict[str, Indices]:
    """Ascending indices of each role in `names`.

    Args:
        count: samples of the data set.
        labels: (count,) classes to stratify by, or None.
        names: the roles that are cut from this data set, of train, select and test. Where the set is not cut into
            all three, their fractions are taken relative to one another.

    Raises:
        DataError: declared ranges that overlap or end beyond the data set.
    """
    shares = {name: getattr(splits, name) for name in names}
    if all(isinstance(share, Range) for share in shares.values()):
        return declared(count, shares)
    fractions = {name: float(share) for name, share in shares.items()}
    if len(names) < 3:
        total = sum(fractions.values())
        fractions = {name: share / total if total else 0.0 for name, share in fractions.items()}
    return by_fraction(count, labels, fractions, seed)


def declared(count: int, ranges: dict[str, Range]) -> dict[str, Indices]:
    taken = np.zeros(count, bool)
    roles = {}
    for name, part in ranges.items():
        if part.stop > count:
            raise DataError(f"the range of {name} ends at {part.stop:,} and the data set has {count:,} samples")
        if taken[part.start : part.stop].any():
            raise DataError(f"the range of {name} ({part.start}:{part.stop}) overlaps another role's")
        taken[part.start : part.stop] = True
        roles[name] = np.arange(part.start, part.stop)
    return roles


def by_fraction(count: int, labels: np.ndarray | None, fractions: dict[str, float], seed: int) -> dict[str, Indices]:
    """Shuffle, sort by label, then give every role each so-many-th sample: class shares are exact to one sample."""
    order = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    roles, left = {}, 1.0
    for name, fraction in sorted(fractions.items(), key=lambda item: item[1]):
        share = min(1.0, fraction / left) if left > 1e-12 else 0.0
        marks = np.floor(np.arange(len(order) + 1) * share + 0.5 + 1e-9)
        chosen = marks[1:] > marks[:-1]
        roles[name] = np.sort(order[chosen])
        order, left = order[~chosen], left - fraction
    return {name: roles[name] for name in fractions}


def calibration(train: Indices, most: int, seed: int) -> Indices:
    """At most `most` samples of `train`, seeded, ascending."""
    if len(train) <= most:
        return train
    return np.sort(np.random.default_rng(seed + 1).choice(train, most, replace=False))
