"""From scores to a choice: which units go, so that counts stay round, groups stay balanced and the cost is met."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.network.channels.units import Channels, Group, ParameterAxis

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerCost:
    """Multiply-accumulates of one layer per (output channel, input channel of its group), and the axes they count."""

    per_pair: float
    outputs: ParameterAxis
    inputs: ParameterAxis | None


class CostModel:
    """Multiply-accumulates of a network as a function of how many units each group keeps."""

    def __init__(self, costs: list[LayerCost], groups: list[Group], count: int) -> None:
        self.per_pair = np.array([cost.per_pair for cost in costs])
        self.sizes = np.array([len(group.units) for group in groups], dtype=np.float64)
        group_of = np.full(count, -1)
        for number, group in enumerate(groups):
            group_of[group.units] = number
        self.outputs = [self._counts(cost.outputs, group_of) for cost in costs]
        self.inputs = [self._counts(cost.inputs, group_of) for cost in costs]
        self.out, self.fixed_out = self._stack(self.outputs)
        self.inn, self.fixed_in = self._stack(self.inputs)

    def _counts(self, axis: ParameterAxis | None, group_of: NDArray[np.int64]) -> Floats:
        """(groups + 1,) channels of the axis per unit of each group, and those of no group last."""
        counts = np.zeros(len(self.sizes) + 1)
        if axis is None:
            counts[-1] = 1.0
        elif axis.parts is None:
            np.add.at(counts, group_of[axis.ids], 1.0)
        else:
            np.add.at(counts, group_of[axis.parts.reshape(-1)], 1.0 / len(axis.parts))
        counts[:-1] /= self.sizes
        return counts

    def _stack(self, rows: list[Floats]) -> tuple[Floats, Floats]:
        table = np.array(rows).reshape(len(rows), len(self.sizes) + 1)
        return table[:, :-1], table[:, -1]

    def total(self, kept: Floats) -> float:
        """Multiply-accumulates when the groups keep so many units."""
        return float(self.per_pair @ ((self.out @ kept + self.fixed_out) * (self.inn @ kept + self.fixed_in)))

    def saved(self, kept: Floats, dropped: Floats) -> Floats:
        """(groups,) what is saved if one group alone dropped so many more."""
        outputs, inputs = self.out @ kept + self.fixed_out, self.inn @ kept + self.fixed_in
        left = (outputs[:, None] - self.out * dropped) * (inputs[:, None] - self.inn * dropped)
        return self.per_pair @ ((outputs * inputs)[:, None] - left)


@dataclass(frozen=True)
class Pruner:
    """Chooses units of some groups by score.

    Attributes:
        channels: the analysis.
        groups: the groups that may lose units.
        scores: (units,) what is lost with a unit, comparable between groups.
        round_to: kept counts are multiples of this where the group is large enough.
        together: whether groups compete (global), or each loses the same fraction.
    """

    channels: Channels
    groups: list[Group]
    scores: Floats
    round_to: int
    together: bool

    def by_fraction(self, fraction: float) -> Mask:
        """Remove about this fraction of the units.

        Returns:
            (units,) True for those that go. Every group keeps at least one round count, or all it has.
        """
        counts = self._lost(fraction)
        return self._removed([self._round(g, len(g.units) - n) for g, n in zip(self.groups, counts, strict=True)])

    def by_cost(self, costs: list[LayerCost], keep: float) -> Mask:
        """Remove what is worth least for the cost it saves, until `keep` times the cost is left or nothing can go.

        Groups that do not compete shrink together, by the fraction that just meets the cost.
        """
        model = CostModel(costs, self.groups, self.channels.count)
        target = keep * model.total(model.sizes)
        return self._removed(self._greedy(model, target) if self.together else self._even(model, target))

    def _greedy(self, model: CostModel, target: float) -> list[int]:
        """Kept counts, lowered one round count at a time where the loss per saved operation is least.

        The last cut is the one of least loss among those that reach the target; then what need not go comes back.
        """
        losses = [self._cumulated(group) for group in self.groups]
        kept = model.sizes.copy()
        while (total := model.total(kept)) > target:
            lower = np.array([self._lower(g, int(k)) for g, k in zip(self.groups, kept, strict=True)], dtype=np.float64)
            saved = model.saved(kept, kept - lower)
            lost = self._between(losses, model.sizes, kept, lower)
            if not (saved > 0).any():
                break
            price = np.full(len(saved), np.inf)
            np.divide(lost, saved, out=price, where=saved > 0)
            best = int(price.argmin())
            finishing = total - saved <= target
            if finishing[best]:
                best = int(np.where(finishing, lost, np.inf).argmin())
            kept[best] = lower[best]
        return [int(k) for k in self._refilled(model, target, losses, kept)]

    def _refilled(self, model: CostModel, target: float, losses: list[Floats], kept: Floats) -> Floats:
        """The counts raised again, dearest first, as far as the target allows."""
        while True:
            higher = np.array(
                [self._higher(g, int(k)) for g, k in zip(self.groups, kept, strict=True)], dtype=np.float64
            )
            fits = (higher > kept) & (model.total(kept) - model.saved(kept, kept - higher) <= target)
            if not fits.any():
                return kept
            regained = np.where(fits, self._between(losses, model.sizes, higher, kept), -np.inf)
            best = int(regained.argmax())
            kept[best] = higher[best]

    @staticmethod
    def _between(losses: list[Floats], sizes: Floats, more: Floats, fewer: Floats) -> Floats:
        """(groups,) what each group loses on its way from keeping `more` to keeping `fewer`."""
        rows = zip(losses, sizes, more, fewer, strict=True)
        return np.array([loss[int(n - low)] - loss[int(n - high)] for loss, n, high, low in rows])

    def _even(self, model: CostModel, target: float) -> list[int]:
        fractions = np.linspace(0.0, 1.0, 1001)
        for fraction in fractions:
            kept = [self._round(group, round((1 - fraction) * len(group.units))) for group in self.groups]
            if model.total(np.array(kept, dtype=np.float64)) <= target:
                break
        return kept

    def _lost(self, fraction: float) -> list[int]:
        """How many units each group would lose, before rounding."""
        if not self.together:
            return [round(fraction * len(group.units)) for group in self.groups]
        everything = np.concatenate([self.scores[group.units] for group in self.groups])
        chosen = np.zeros(len(everything), dtype=bool)
        chosen[np.argsort(everything, kind="stable")[: round(fraction * len(everything))]] = True
        ends = np.cumsum([len(group.units) for group in self.groups])
        return [int(part.sum()) for part in np.split(chosen, ends[:-1])]

    def _unit(self, group: Group) -> int:
        """Counts are multiples of the balanced parts, and the filters they stand for of `round_to`."""
        units = self.round_to // np.gcd(self.round_to, group.width)
        return int(np.lcm(units, len(np.unique(group.parts))))

    def _round(self, group: Group, kept: int) -> int:
        """The nearest allowed count: at least one multiple, at most all."""
        size, unit = len(group.units), self._unit(group)
        if size <= unit or kept >= size:
            return size
        return min(max(int(np.floor(kept / unit + 0.5)) * unit, unit), size)

    def _lower(self, group: Group, kept: int) -> int:
        """The next allowed count below; the same where there is none."""
        unit = self._unit(group)
        return kept if kept <= unit else (kept - 1) // unit * unit

    def _higher(self, group: Group, kept: int) -> int:
        """The next allowed count above; the same where there is none."""
        return min((kept // self._unit(group) + 1) * self._unit(group), len(group.units))

    def _cumulated(self, group: Group) -> Floats:
        """(n + 1,) what is lost when the 0, 1, ... n worst units are gone.

        Each is counted against what is left of its group, so that thinning a group further costs more and more:
        the total worth times -log(share that stays).
        """
        lost = np.concatenate([[0.0], np.cumsum(np.sort(self.scores[group.units]))])
        if lost[-1] <= 0:
            return lost
        left = np.maximum(1.0 - lost / lost[-1], np.finfo(np.float64).tiny)
        return -lost[-1] * np.log(left)

    def _removed(self, kept: list[int]) -> Mask:
        removed = np.zeros(self.channels.count, dtype=bool)
        for group, count in zip(self.groups, kept, strict=True):
            removed[self._worst(group, count)] = True
        return self.channels.balanced(removed)

    def _worst(self, group: Group, kept: int) -> NDArray[np.int64]:
        """The units that go when `kept` remain, equally many of each balanced part."""
        if kept >= len(group.units):
            return np.empty(0, dtype=np.int64)
        parts = [group.units[group.parts == part] for part in np.unique(group.parts)]
        ranked = [units[np.argsort(self.scores[units], kind="stable")] for units in parts]
        return np.concatenate([units[: len(units) - kept // len(parts)] for units in ranked])
