"""How identities of channels pass reshapes and expansions, and the shape plane that computes their targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from core.network.channels.axis_runs import Run, runs
from core.network.channels.carriers import Carried, Carrier, trimmed
from core.network.channels.sizes import (
    count_computed,
    depends_on_channels,
    depends_on_rows,
    evaluated,
    keep_size,
    moved_by,
    sources,
)
from core.network.channels.trace import Trace, rule
from core.network.ops import shape
from core.network.tensors import FLOATS


@rule(shape.reshape, shape.reshape_to, shape.flatten)
def pass_reshape(trace: Trace, node: fx.Node) -> Carried:
    """Runs of axes with equal products are merged and split, and the identities with them."""
    x = node.args[0]
    found = runs(trace.shape(x), trace.shape(node))
    settled = set().union(*(_hold_in_order(trace, node, old) for old, _ in found))
    result = []
    for carrier in [carrier for carrier in trace.carriers(x) if not settled & set(carrier.axes)]:
        dense = _reshaped(trace, node, carrier, found)
        if not dense.axes:
            trace.lock(carrier.ids, f"{trace.name(node)} drops its axis")
            continue
        moved = trimmed(dense)
        if dense.ids.size == 0 or not _counted(trace, node, moved, found):
            trace.lock(carrier.ids, f"{trace.name(node)} has its size as a constant")
        if moved.is_block:
            trace.block(moved.ids, trace.name(node))
        result.append(moved)
    return _apart(trace, node, result)


def _hold_in_order(trace: Trace, node: fx.Node, old: list[int]) -> set[int]:
    """What is merged must be one carrier, its axes side by side as they were laid out.

    Of several the most significant one stays; gives back the axes of the others, which are settled.
    """
    x = node.args[0]
    met = [carrier for carrier in trace.carriers(x) if set(carrier.axes) & set(old)]
    if not met or len([axis for axis in old if trace.shape(x)[axis] > 1]) < 2:
        return set()
    block = min(met, key=lambda carrier: min(set(carrier.axes) & set(old)))
    others = {axis for carrier in met if carrier is not block for axis in set(carrier.axes) & set(old)}
    for axis in others:
        trace.settle(x, axis, f"{trace.name(node)} mixes it with another axis")
    inside = [place for place, axis in enumerate(block.axes) if axis in old]
    in_order = [block.axes[place] for place in inside] == sorted(block.axes[place] for place in inside)
    if not in_order or inside != list(range(inside[0], inside[0] + len(inside))):
        for axis in block.axes[1:]:
            trace.settle(x, axis, "")
    return others


def _reshaped(trace: Trace, node: fx.Node, carrier: Carrier, found: list[Run]) -> Carrier:
    """The carrier on all new axes of the runs it is in."""
    sizes, target = trace.shape(node.args[0]), trace.shape(node)
    axes: list[tuple[str, int]] = [("old", axis) for axis in carrier.axes]
    ids = carrier.ids
    for old, new in found:
        inside = [place for place, (kind, axis) in enumerate(axes) if kind == "old" and axis in old]
        if not inside:
            continue
        first, last = inside[0], inside[-1] + 1
        here = [axis for _, axis in axes[first:last]]
        before, after = ids.shape[:first], ids.shape[last:]
        spread = ids.reshape([*before, *(sizes[axis] if axis in here else 1 for axis in old), *after])
        full = np.broadcast_to(spread, [*before, *(sizes[axis] for axis in old), *after])
        ids = full.reshape([*before, *(target[axis] for axis in new), *after])
        axes[first:last] = [("new", axis) for axis in new]
    return Carrier(tuple(axis for _, axis in axes), ids, carrier.zero)


def _counted(trace: Trace, node: fx.Node, moved: Carrier, found: list[Run]) -> bool:
    """Let every number of the target that counts channels follow a cut; False where one can't."""
    if node.target is shape.flatten:
        return True
    straight = {new[0] for old, new in found if len(old) == len(new) == 1 and old == new}
    for axis, place in enumerate(moved.axes):
        if trace.shape(node)[place] == 1:
            continue
        if node.target is shape.reshape_to:
            if not count_computed(trace, node, place, moved.ids, axis):
                return False
            continue
        target: Any = node.kwargs["shape"]
        copied = target[place] == 0 and not node.kwargs.get("allowzero") and place in straight
        if target[place] != -1 and not copied:
            trace.count(node, "shape", place, moved.ids, axis)
    return True


def _apart(trace: Trace, node: fx.Node, carried: Carried) -> Carried:
    """Carriers that came to share an axis say nothing any more."""
    owners: dict[int, list[Carrier]] = {}
    for carrier in carried:
        for axis in carrier.axes:
            owners.setdefault(axis, []).append(carrier)
    mixed = [carrier for sharing in owners.values() if len(sharing) > 1 for carrier in sharing]
    for carrier in mixed:
        trace.lock(carrier.ids, f"{trace.name(node)} mixes it with another axis")
    return [carrier for carrier in carried if not any(carrier is other for other in mixed)]


@rule(shape.expand, shape.expand_to)
def pass_expand(trace: Trace, node: fx.Node) -> Carried:
    """Axes of size 1 grow and stay without channels; the others pass."""
    x = node.args[0]
    shift = len(trace.shape(node)) - len(trace.shape(x))
    result = []
    for carrier in trace.carriers(x):
        moved = carrier.moved(lambda axis: axis + shift)
        if moved.ids.shape != tuple(trace.shape(node)[axis] for axis in moved.axes):
            trace.lock(carrier.ids, f"{trace.name(node)} repeats it")
            continue
        if not all(_expansion_counted(trace, node, moved, axis) for axis in range(len(moved.axes))):
            trace.lock(carrier.ids, f"{trace.name(node)} has its size as a constant")
        result.append(moved)
    return result


def _expansion_counted(trace: Trace, node: fx.Node, carrier: Carrier, axis: int) -> bool:
    place = carrier.axes[axis]
    if node.target is shape.expand_to:
        return count_computed(trace, node, place, carrier.ids, axis) or keep_size(trace, node, place)
    target: Any = node.kwargs["shape"]
    place += len(target) - len(trace.shape(node))
    if place >= 0 and target[place] != 1:
        trace.count(node, "shape", place, carrier.ids, axis)
    return True


@rule(shape.constant_of_shape)
def pass_filled(trace: Trace, node: fx.Node) -> Carried:
    """A size that is the number of some channels gives it these channels, as in zeros like another value."""
    target = node.args[0]
    assert isinstance(target, fx.Node)
    sizes, found = trace.shape(node), moved_by(trace, target)
    shared = [place for _, places in found for place in places]
    result = []
    for carrier, places in found:
        grown = evaluated(trace, target, channels=2, of=carrier)
        place = min(places)
        is_count = grown is not None and grown[place] == 2 * sizes[place] == 2 * carrier.ids.size
        if is_count and not carrier.is_block and len(places) == shared.count(place) == 1:
            trace.laid_out.add((node, place))
            result.append(Carrier((place,), carrier.ids, zero=not node.kwargs["value"]))
    return result


@rule(shape.shape_of, shape.size_of, shape.range_)
def pass_shape(trace: Trace, node: fx.Node) -> Carried:
    """Sizes that are computed follow the cut by themselves."""
    return []


@rule(shape.cast)
def pass_cast(trace: Trace, node: fx.Node) -> Carried:
    """A size that becomes a factor, as the square root of a width does, would change what is computed."""
    to: Any = node.kwargs["to"]
    becomes_factor = to.is_floating_point and not _is_float(trace, node.args[0])
    if becomes_factor and sources(node) and depends_on_channels(trace, node):
        for value in sources(node):
            trace.lock_all(value, f"{trace.name(node)} computes with its size")
    if becomes_factor and depends_on_rows(trace, node):
        for value in sources(node):
            _hold_rows(trace, value)
    return list(trace.carriers(node.args[0]))


def _is_float(trace: Trace, node: Any) -> bool:
    """Whether a value is known to hold no sizes any more, which are integers."""
    return trace.network.index.element_type(str(node.meta.get("value"))) in FLOATS


def _hold_rows(trace: Trace, value: fx.Node) -> None:
    """Rows of blocks go as a whole or not at all."""
    for block in [carrier for carrier in trace.carriers(value) if carrier.is_block]:
        for axis in block.axes[1:]:
            trace.settle(value, axis, "")
