"""Identities through a contraction: a product of values over labelled axes, as an einsum writes it."""

from __future__ import annotations

from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import follow
from core.network.channels.identities import Ids
from core.network.channels.trace import Trace


def contract(
    trace: Trace, node: fx.Node, operands: list[fx.Node], labels: list[list[str]], result: list[str]
) -> Carried:
    """Carriers of a product that is summed over every label that `result` lacks.

    Along a label that stays, operands are united. A label that is summed over may carry channels if one factor is
    exactly 0 where the channel is, and if every factor can be cut along it; blocks are held together there, so
    that what remains of them are the heads.

    Args:
        labels: for each operand the label of each of its axes.
    """
    for operand, names in zip(operands, labels, strict=True):
        _hold_blocks(trace, node, operand, names, operands, labels, result)
    carried: Carried = []
    for name in dict.fromkeys(name for names in labels for name in names):
        ids = _along(trace, node, operands, labels, name, name not in result)
        if ids is not None and name in result:
            zero = any(_is_zero(trace, o, names, name) for o, names in zip(operands, labels, strict=True))
            carried.append(Carrier((result.index(name),), ids, zero))
    return [*carried, *_free_blocks(trace, operands, labels, result)]


def _hold_blocks(
    trace: Trace,
    node: fx.Node,
    operand: fx.Node,
    names: list[str],
    operands: list[fx.Node],
    labels: list[list[str]],
    result: list[str],
) -> None:
    """A block keeps its shape only if nobody else has its labels."""
    reason = f"{trace.name(node)} multiplies two computed values over it"
    for block in [carrier for carrier in trace.carriers(operand) if carrier.is_block]:
        summed = [axis for axis in block.axes if names[axis] not in result]
        shared = any(
            names[axis] in its and trace.shape(other)[its.index(names[axis])] > 1
            for axis in block.axes
            for other, its in zip(operands, labels, strict=True)
            if other is not operand
        )
        if not summed and not shared:
            continue
        row = next((axis for axis in block.axes if axis not in summed), block.axis)
        for axis in block.axes:
            if axis != row:
                trace.settle(operand, axis, reason)


def _free_blocks(trace: Trace, operands: list[fx.Node], labels: list[list[str]], result: list[str]) -> Carried:
    return [
        block.moved(lambda axis, names=names: result.index(names[axis])).without_zero()
        for operand, names in zip(operands, labels, strict=True)
        for block in trace.carriers(operand)
        if block.is_block
    ]


def _along(
    trace: Trace, node: fx.Node, operands: list[fx.Node], labels: list[list[str]], name: str, is_summed: bool
) -> Ids | None:
    """Identities along one label, united over the operands that have it."""
    held = [(o, names.index(name)) for o, names in zip(operands, labels, strict=True) if name in names]
    if long := [(o, axis) for o, axis in held if trace.shape(o)[axis] > 1]:
        for operand, axis in held:
            if trace.shape(operand)[axis] == 1:
                trace.lock(trace.ids(operand, axis), f"{trace.name(node)} repeats it")
        held = long
    carriers = [carrier for o, axis in held if (carrier := trace.carrier(o, axis)) is not None]
    if not carriers or any(carrier.is_block for carrier in carriers):
        return None
    first = carriers[0].ids
    for other in carriers[1:]:
        trace.unite(first, other.ids)
    for operand, axis in held:
        if trace.carrier(operand, axis) is None and not follow(trace, operand, axis - len(trace.shape(operand)), first):
            trace.lock(first, f"{trace.name(node)} multiplies it with {trace.name(operand)}, which can't be cut")
    if is_summed and not any(c.zero for c in carriers) and not any(o.op == "get_attr" for o, _ in held):
        trace.lock(first, f"{trace.name(node)} sums over it, and nothing there is zero when it is")
    return first


def _is_zero(trace: Trace, operand: fx.Node, names: list[str], name: str) -> bool:
    return name in names and trace.is_zero(operand, names.index(name))
