"""From scores to a choice: which units go, so that counts stay round, groups stay balanced and the cost is met."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.network.channels import Channels, Group, ParameterAxis

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LayerCost:
    """Multiply-accumulates of one layer per (output channel, input channel of its group), and the axes they count."""

    per_pair: float
    outputs: ParameterAxis
    inputs: ParameterAxis | None


@dataclass(frozen=True)
class Pruner:
    """Chooses units of some groups by score.

    Attributes:
        channels: the analysis.
        groups: the groups that may lose units.
        scores: (units,) worth, comparable within a group.
        round_to: kept counts are multiples of this where the group is large enough.
        together: whether groups compete (global), or each loses the same fraction.
    """

    channels: Channels
    groups: list[Group]
    scores: NDArray[np.float64]
    round_to: int
    together: bool

    def by_fraction(self, fraction: float) -> Mask:
        """Remove about this fraction of the units.

        Returns:
            (units,) True for those that go. Every group keeps at least one round count, or all it has.
        """
        removed = np.zeros(self.channels.count, dtype=bool)
        for group, count in zip(self.groups, self._counts(fraction), strict=True):
            kept = self._round(len(group.units), len(group.units) - count, 1 + int(group.parts.max(initial=0)))
            removed[self._worst(group, kept)] = True
        return self.channels.balanced(removed)

    def by_cost(self, costs: list[LayerCost], keep: float) -> Mask:
        """Remove as few units as bring the cost to `keep` times what it is, or as near as rounding allows."""
        target = keep * total_cost(costs, np.zeros(self.channels.count, dtype=bool))
        low, high = 0.0, 1.0
        best = self.by_fraction(1.0)
        for _ in range(24):
            middle = (low + high) / 2
            removed = self.by_fraction(middle)
            if total_cost(costs, removed) <= target:
                best, high = removed, middle
            else:
                low = middle
        return best

    def _counts(self, fraction: float) -> list[int]:
        """How many units each group would lose, before rounding."""
        if not self.together:
            return [round(fraction * len(group.units)) for group in self.groups]
        if not self.groups:
            return []
        everything = np.concatenate([self.scores[group.units] for group in self.groups])
        gone = round(fraction * len(everything))
        chosen = np.zeros(len(everything), dtype=bool)
        chosen[np.argsort(everything, kind="stable")[:gone]] = True
        ends = np.cumsum([len(group.units) for group in self.groups])
        return [int(part.sum()) for part in np.split(chosen, ends[:-1])]

    def _round(self, size: int, kept: int, parts: int) -> int:
        """The nearest allowed count: a multiple of `round_to` and of the balanced parts, at least one, at most all."""
        unit = int(np.lcm(self.round_to, parts))
        if size <= unit:
            return size
        nearest = int(np.floor(kept / unit + 0.5)) * unit
        return min(max(nearest, unit), size)

    def _worst(self, group: Group, kept: int) -> NDArray[np.int64]:
        """The units that go when `kept` remain, equally many of each balanced part."""
        parts = [group.units[group.parts == part] for part in np.unique(group.parts)]
        share = kept // len(parts) if kept < len(group.units) else len(group.units)
        ranked = [units[np.argsort(self.scores[units], kind="stable")] for units in parts]
        return np.concatenate([units[: max(len(units) - share, 0)] for units in ranked])


def total_cost(costs: list[LayerCost], removed: Mask) -> float:
    """Multiply-accumulates left when some units are gone."""
    return sum(cost.per_pair * _kept(cost.outputs, removed) * _kept_inputs(cost.inputs, removed) for cost in costs)


def _kept(axis: ParameterAxis, removed: Mask) -> int:
    return int((~removed[axis.ids]).sum())


def _kept_inputs(axis: ParameterAxis | None, removed: Mask) -> float:
    if axis is None:
        return 1.0
    return _kept(axis, removed) if axis.parts is None else float((~removed[axis.parts]).sum()) / len(axis.parts)


def normalised(scores: NDArray[np.float64], groups: list[Group]) -> NDArray[np.float64]:
    """Scores divided by their group's mean, so that groups of different scale can compete."""
    scaled = scores.copy()
    for group in groups:
        mean = scores[group.units].mean()
        scaled[group.units] = scores[group.units] / mean if mean > 0 else 1.0
    return scaled
