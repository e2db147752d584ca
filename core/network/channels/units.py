"""Units: classes of channel identities that live or die together, and every place where each occurs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.network.channels.identities import NONE, Ids, unit_mask

if TYPE_CHECKING:
    from torch import fx

ENDS_IN_OPAQUE = "it feeds an operator that runs opaquely"


@dataclass(frozen=True)
class ParameterAxis:
    """One axis of one tensor of a module (or of the graph itself, owner "").

    Attributes:
        owner: target of the call_module node, or "" for a constant of the graph.
        tensor: its name there, such as `weight`.
        axis: the axis.
        ids: (size,) identity at each index; units once the analysis is done.
        produces: whether the channel is computed from these weights (a filter), not merely read or scaled by them.
        parts: for the inner axis of a grouped convolution the (groups, size) identities, of which every group of rows
            has its own; None elsewhere.
    """

    owner: str
    tensor: str
    axis: int
    ids: Ids
    produces: bool = False
    parts: Ids | None = None

    @property
    def is_weight(self) -> bool:
        """Whether it is an axis of a matrix or a filter, not of a bias or a statistic."""
        return self.tensor.startswith("weight")

    @property
    def occurring(self) -> Ids:
        """Every identity on the axis."""
        return self.ids if self.parts is None else self.parts.reshape(-1)


@dataclass(frozen=True)
class Literal:
    """A number that counts channels: it becomes the size of `ids` along `axis` when some are gone.

    Attributes:
        node: whose literal it is; or whose computed argument it is in, where `position` becomes a number.
        name: of the literal.
        position: its place in a list; None for a number by itself.
        ids: identities, one dimension for each axis of the block they were laid out in.
        axis: of `ids`.
        length: of the computed shape it is in.
        is_free: whether it becomes what is left over or comes in, because other things than channels count in it.
        is_share: whether it is multiplied by the share that remains, for the same reason.
        beside: identities that it does not count, and yet is written anew when one of them goes: it counts from their
            end, or was computed from their number.
    """

    node: fx.Node
    name: str
    position: int | None
    ids: Ids
    axis: int = 0
    length: int = 0
    is_free: bool = False
    is_share: bool = False
    beside: Ids = field(default_factory=lambda: NONE)

    def changes(self, removed: NDArray[np.bool_]) -> bool:
        """Whether the number is another one without the marked channels."""
        return bool(removed[self.ids].any() or removed[self.beside].any())

    def kept(self, removed: NDArray[np.bool_]) -> int:
        """The size that remains: whole rows go, and of the rows that stay all lose equally many."""
        return remaining_sizes(~removed[self.ids])[self.axis]


def remaining_sizes(kept: NDArray[np.bool_]) -> list[int]:
    """Sizes of a block of which the marked channels are kept, its last axis being what each row keeps."""
    sizes = [
        int(kept.any(axis=tuple(other for other in range(kept.ndim) if other != axis)).sum())
        for axis in range(kept.ndim - 1)
    ]
    rows = int(np.prod(sizes))
    return [*sizes, int(kept.sum()) // rows if rows else 0]


@dataclass(frozen=True)
class Pick:
    """A node that takes channels of `root` by position; where one of them goes it is rewritten as `take`.

    So it is when one of `beside` goes, by whose number it says what it takes.
    """

    node: fx.Node
    root: fx.Node
    axis: int
    axis_ids: Ids
    positions: Ids
    beside: Ids = field(default_factory=lambda: NONE)

    def changes(self, removed: NDArray[np.bool_]) -> bool:
        """Whether it takes others, or by other numbers, without the marked channels."""
        return bool(removed[self.axis_ids].any() or removed[self.beside].any())


@dataclass(frozen=True)
class Indices:
    """A node's literal list of positions on an axis: it becomes their new positions."""

    node: fx.Node
    name: str
    axis_ids: Ids
    positions: Ids


@dataclass(frozen=True)
class Drop:
    """An argument of a node that is left out when one of `ids` goes."""

    node: fx.Node
    argument: int
    ids: Ids


@dataclass(frozen=True)
class Balance:
    """Groups that must keep equally many channels: (groups, size) identities."""

    ids: Ids


@dataclass
class Group:
    """Units that occur in the same places, so that they compete with each other.

    Attributes:
        units: (n,) units in order of appearance.
        layers: names of the layers whose filters they are.
        parts: (n,) index of the balanced part each unit belongs to; all zero where nothing is balanced.
        width: filters that one unit has in a layer, at least: 1 but for heads and the like.
    """

    units: Ids
    layers: list[str]
    parts: Ids
    width: int = 1


@dataclass
class Channels:
    """Units of a network, and where each occurs.

    Attributes:
        approximate: units over which a normalisation averages: without them it averages over fewer.
    """

    count: int
    axes: list[ParameterAxis]
    literals: list[Literal]
    indices: list[Indices]
    picks: list[Pick]
    drops: list[Drop]
    balances: list[Balance]
    locked: dict[int, str]
    layer_names: dict[str, str]
    approximate: Ids = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    groups: list[Group] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = _group(self)

    def prunable(self) -> Ids:
        """Units that may be removed."""
        free = ~unit_mask(self.locked, self.count)
        return np.flatnonzero(free & self._produced())

    def _produced(self) -> NDArray[np.bool_]:
        produced = np.zeros(self.count, dtype=bool)
        for axis in self.axes:
            if axis.produces:
                produced[axis.occurring] = True
        return produced

    def output_axis(self, owner: str) -> ParameterAxis | None:
        """The axis of a layer's filters."""
        return self._output_axes.get(owner)

    @cached_property
    def _output_axes(self) -> dict[str, ParameterAxis]:
        return {axis.owner: axis for axis in reversed(self.axes) if axis.produces and axis.is_weight}

    def lock_reason(self, owner: str) -> str | None:
        """Why none of a layer's filters can be removed; None if some can."""
        axis = self.output_axis(owner)
        if axis is None:
            return "it has no filters of its own"
        reasons = [self.locked.get(int(unit)) for unit in axis.occurring]
        return next((reason for reason in reasons if reason), None) if all(reasons) else None

    def balanced(self, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The largest part of `removed` that takes equally many channels from every group that must stay balanced.

        Args:
            removed: (count,) units to remove; where some must stay, those of highest number do.
        """
        removed = removed.copy()
        changed = True
        while changed:
            changed = False
            for balance in self.balances:
                gone = removed[balance.ids]  # (groups, size)
                least = gone.sum(axis=1).min()
                for row, ids in zip(gone, balance.ids, strict=True):
                    if (surplus := int(row.sum() - least)) > 0:
                        removed[ids[np.flatnonzero(row)[-surplus:]]] = False
                        changed = True
        return removed


def _group(channels: Channels) -> list[Group]:
    """Gather prunable units by the set of parameter axes they occur in."""
    places: dict[int, list[int]] = defaultdict(list)
    free = unit_mask(channels.prunable(), channels.count)
    for number, axis in enumerate(channels.axes):
        for unit in np.unique(axis.occurring[free[axis.occurring]]).tolist():
            places[unit].append(number)
    part_of = _parts(channels.balances, channels.count)
    members: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for unit in channels.prunable():
        members[tuple(places[int(unit)])].append(int(unit))
    return [
        Group(
            units=np.array(units, dtype=np.int64),
            layers=_names(channels, [channels.axes[p] for p in where if channels.axes[p].produces]),
            parts=part_of[units],
            width=_width(units, [channels.axes[p] for p in where if channels.axes[p].produces]),
        )
        for where, units in members.items()
    ]


def _width(units: list[int], filters: list[ParameterAxis]) -> int:
    """How often a unit occurs among the filters of a layer, at least."""
    counts = [int((axis.occurring == units[0]).sum()) for axis in filters if axis.is_weight]
    return min(counts, default=1)


def _names(channels: Channels, axes: Iterable[ParameterAxis]) -> list[str]:
    return list(dict.fromkeys(channels.layer_names[axis.owner] for axis in axes if axis.owner in channels.layer_names))


def _parts(balances: list[Balance], count: int) -> Ids:
    """(count,) number of the balanced part of each unit; a unit in several constraints gets the finest common one."""
    parts = np.zeros(count, dtype=np.int64)
    if not balances:
        return parts
    balanced = np.unique(np.concatenate([balance.ids.reshape(-1) for balance in balances]))
    common = np.zeros(len(balanced), dtype=np.int64)
    for balance in balances:
        number = np.zeros(len(balanced), dtype=np.int64)
        for group, ids in enumerate(balance.ids):
            number[np.searchsorted(balanced, ids)] = group + 1
        _, common = np.unique(common * (len(balance.ids) + 1) + number, return_inverse=True)
    parts[balanced] = common + 1
    return parts
