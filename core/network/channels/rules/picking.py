"""How identities of channels pass what picks elements of each channel at places of its own."""

from __future__ import annotations

from typing import Any

from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import follow, is_nothing
from core.network.channels.identities import Ids
from core.network.channels.trace import Trace, rule
from core.network.ops.picking import gather_elements, gather_nd, scatter_elements, scatter_nd, top_k


@rule(top_k)
def pass_top_k(trace: Trace, node: fx.Node) -> list[Carried]:
    """Along an axis without channels: of each channel its largest elements, and where they stand."""
    x = node.args[0]
    axis: Any = node.kwargs["axis"]
    trace.settle(x, axis, f"{trace.name(node)} sorts it")
    axis %= len(trace.shape(x))
    kept = [carrier for carrier in trace.carriers(x) if axis not in carrier.axes]
    return [kept, [carrier.without_zero() for carrier in kept]]


@rule(gather_elements, scatter_elements)
def pass_elements(trace: Trace, node: fx.Node) -> Carried:
    """Along an axis without channels. Of the others all operands have the same channels, or are cut with them."""
    rank = len(trace.shape(node))
    along = int(node.kwargs["axis"]) % rank  # pyright: ignore[reportArgumentType]  # an int literal
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    for operand in operands:
        trace.settle(operand, along, f"{trace.name(node)} picks from it by number")
    values = [operands[0], *operands[2:]]
    result = []
    for axis in set(range(rank)) - {along}:
        ids = _shared(trace, node, operands, axis - rank)
        if ids is not None:
            zero = all(trace.is_zero(value, axis) or is_nothing(trace, value) for value in values)
            result.append(Carrier((axis,), ids, zero))
    return result


@rule(gather_nd)
def pass_gather_nd(trace: Trace, node: fx.Node) -> Carried:
    """Axes behind those that the numbers reach go on."""
    x, indices = node.args
    batch: Any = node.kwargs["batch_dims"]
    reached = batch + trace.shape(indices)[-1]
    _hold_reached(trace, node, x, indices, reached)
    shift = len(trace.shape(node)) - len(trace.shape(x))
    return [carrier.moved(lambda axis: axis + shift) for carrier in trace.carriers(x) if min(carrier.axes) >= reached]


@rule(scatter_nd)
def pass_scatter_nd(trace: Trace, node: fx.Node) -> Carried:
    """Axes behind those that the numbers reach have the same channels in what is written and where."""
    operands: Any = node.args
    x, indices, updates = operands
    reached = trace.shape(indices)[-1]
    _hold_reached(trace, node, x, indices, reached)
    behind = len(trace.shape(x)) - reached
    trace.lock_others(updates, range(-behind, 0), f"{trace.name(node)} writes it by number")
    result = []
    for axis in range(-behind, 0):
        ids = _shared(trace, node, [x, updates], axis)
        if ids is not None:
            zero = all(trace.is_zero(value, axis) or is_nothing(trace, value) for value in (x, updates))
            result.append(Carrier((axis + len(trace.shape(x)),), ids, zero))
    return result


def _hold_reached(trace: Trace, node: fx.Node, x: Any, indices: Any, reached: int) -> None:
    for axis in range(reached):
        trace.settle(x, axis, f"{trace.name(node)} picks from it by number")
    trace.lock_all(indices, f"{trace.name(node)} picks by it")


def _shared(trace: Trace, node: fx.Node, operands: list[fx.Node], axis: int) -> Ids | None:
    """What all operands have along an axis, counted from the end; locked where one can't lose what the others do."""
    held = [trace.ids(operand, axis) for operand in operands]
    known = [ids for ids in held if ids is not None]
    if not known:
        return None
    if len({trace.shape(operand)[axis] for operand in operands}) > 1:
        for ids in known:
            trace.lock(ids, f"{trace.name(node)} picks from it by number")
        return None
    for ids in known[1:]:
        trace.unite(known[0], ids)
    others = [operand for operand, ids in zip(operands, held, strict=True) if ids is None]
    if not all(follow(trace, other, axis, known[0]) for other in others):
        trace.lock(known[0], f"{trace.name(node)} picks from it by what can't be cut")
    return known[0]
