"""Units: classes of channel identities that live or die together, and every place where each occurs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.network.identities import Identities, Ids, unit_mask

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
        parts: for the input axis of a grouped convolution the (groups, size) identities, of which every group reads
            its own; None elsewhere.
    """

    owner: str
    tensor: str
    axis: int
    ids: Ids
    produces: bool = False
    parts: Ids | None = None


@dataclass(frozen=True)
class Literal:
    """A number among a node's literals that counts channels: it becomes the count of `ids` that remain."""

    node: fx.Node
    name: str
    position: int | None
    ids: Ids


@dataclass(frozen=True)
class Indices:
    """A node's literal list of positions on an axis: it becomes their new positions."""

    node: fx.Node
    name: str
    axis_ids: Ids
    positions: Ids


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
    """

    units: Ids
    layers: list[str]
    parts: Ids


@dataclass
class Channels:
    """Units of a network, and where each occurs."""

    count: int
    axes: list[ParameterAxis]
    literals: list[Literal]
    indices: list[Indices]
    balances: list[Balance]
    locked: dict[int, str]
    layer_names: dict[str, str]
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
                produced[axis.ids] = True
        return produced

    def output_axis(self, owner: str) -> ParameterAxis | None:
        """The axis of a layer's filters."""
        return next((a for a in self.axes if a.owner == owner and a.produces and a.tensor == "weight"), None)

    def lock_reason(self, owner: str) -> str | None:
        """Why none of a layer's filters can be removed; None if some can."""
        axis = self.output_axis(owner)
        if axis is None:
            return "it has no filters of its own"
        reasons = [self.locked.get(int(unit)) for unit in axis.ids]
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


def resolved(
    identities: Identities,
    axes: list[ParameterAxis],
    literals: list[Literal],
    indices: list[Indices],
    balances: list[Balance],
    layer_names: dict[str, str],
) -> Channels:
    """Replace identities by units everywhere."""
    unit, locked = identities.resolve()
    return Channels(
        count=int(unit.max(initial=-1)) + 1,
        axes=[
            replace(axis, ids=unit[axis.ids], parts=None if axis.parts is None else unit[axis.parts]) for axis in axes
        ],
        literals=[Literal(item.node, item.name, item.position, unit[item.ids]) for item in literals],
        indices=[Indices(item.node, item.name, unit[item.axis_ids], item.positions) for item in indices],
        balances=[Balance(unit[item.ids]) for item in balances],
        locked=locked,
        layer_names=layer_names,
    )


def _group(channels: Channels) -> list[Group]:
    """Gather prunable units by the set of parameter axes they occur in."""
    places: dict[int, list[int]] = defaultdict(list)
    for number, axis in enumerate(channels.axes):
        for unit in np.unique(axis.ids if axis.parts is None else axis.parts):
            places[int(unit)].append(number)
    part_of = _parts(channels.balances, channels.count)
    members: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for unit in channels.prunable():
        members[tuple(places[int(unit)])].append(int(unit))
    return [
        Group(
            units=np.array(units, dtype=np.int64),
            layers=_names(channels, [channels.axes[p] for p in where if channels.axes[p].produces]),
            parts=part_of[units],
        )
        for where, units in members.items()
    ]


def _names(channels: Channels, axes: Iterable[ParameterAxis]) -> list[str]:
    return list(dict.fromkeys(channels.layer_names[axis.owner] for axis in axes if axis.owner in channels.layer_names))


def _parts(balances: list[Balance], count: int) -> Ids:
    """(count,) number of the balanced part of each unit; a unit in several constraints gets the finest common one."""
    parts = np.zeros(count, dtype=np.int64)
    for balance in balances:
        number = np.zeros(count, dtype=np.int64)
        for group, ids in enumerate(balance.ids):
            number[ids] = group + 1
        _, parts = np.unique(np.stack([parts, number]), axis=1, return_inverse=True)
        parts = parts.reshape(-1)
    return parts
