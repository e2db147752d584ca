"""Which axes of a value carry channels, and which identity stands at each index.

One axis alone is the rule. Axes carry jointly where a reshape has laid channels out in a block, as (heads, width of
a head): each index of the first axis has channels of its own along the second. A block keeps its order when channels
go: within each row what remains moves together, so every row must keep equally many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.network.channels.identities import Ids


@dataclass(frozen=True)
class Carrier:
    """Identities along some axes of a value.

    Attributes:
        axes: in order of significance: the order in which the channels were laid out.
        ids: one dimension for each of the axes.
        zero: whether a channel is exactly 0 once every parameter it occurs in is.
    """

    axes: tuple[int, ...]
    ids: Ids
    zero: bool = False

    @property
    def axis(self) -> int:
        """The most significant axis; the only one of a carrier that is no block."""
        return self.axes[0]

    @property
    def is_block(self) -> bool:
        return len(self.axes) > 1

    def on(self, axes: Sequence[int]) -> Carrier:
        """The same identities on other axes."""
        return replace(self, axes=tuple(axes))

    def moved(self, place: Callable[[int], int]) -> Carrier:
        """With every axis where `place` puts it."""
        return self.on([place(axis) for axis in self.axes])

    def without_zero(self) -> Carrier:
        return replace(self, zero=False)


Carried = list[Carrier]
"""The carriers of one value; no two share an axis."""

Axes = list[Ids | None]
"""Per axis of a value the identity of each index; None where the axis carries no channels."""


def along(axes: Axes, zero: bool = False) -> Carried:
    """Carriers of one axis each."""
    return [Carrier((axis,), ids, zero) for axis, ids in enumerate(axes) if ids is not None]


def trimmed(carrier: Carrier) -> Carrier:
    """Without the axes along which nothing varies; one axis stays."""
    axes, ids = list(carrier.axes), carrier.ids
    for place in reversed(range(len(axes))):
        first = ids.take([0], axis=place) if ids.shape[place] else ids
        if len(axes) > 1 and ids.size and (ids == first).all():
            axes.pop(place)
            ids = first.squeeze(place)
    return Carrier(tuple(axes), ids, carrier.zero)
