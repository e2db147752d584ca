"""How identities of channels pass Pad."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.rules.moves import alone
from core.network.channels.sizes import evaluated, in_every_run, sources
from core.network.channels.trace import Trace, rule
from core.network.ops import padding, same_padding


@rule(padding.pad)
def pass_pad(trace: Trace, node: fx.Node) -> Carried:
    """Zero channels that a pad adds, as in a parameter-free shortcut, are channels too."""
    x = node.args[0]
    rank = len(trace.shape(x))
    pads: Any = node.kwargs["pads"]
    result: Carried = []
    for axis in range(rank):
        if pads[axis] or pads[axis + rank]:
            alone(trace, x, axis)
    for carrier in trace.carriers(x):
        before, after = (0, 0) if carrier.is_block else (pads[carrier.axis], pads[carrier.axis + rank])
        result.append(carrier if before == after == 0 else _padded(trace, node, carrier, before, after))
    return result


def _padded(trace: Trace, node: fx.Node, carrier: Carrier, before: int, after: int) -> Carrier:
    axis, rank = carrier.axis, len(trace.shape(node))
    if node.kwargs["mode"] != "constant" or min(before, after) < 0:
        trace.lock(carrier.ids, f"{trace.name(node)} pads or crops it")
        return Carrier((axis,), trace.locked(trace.shape(node)[axis], f"{trace.name(node)} pads or crops it"))
    front, back = trace.fresh(before), trace.fresh(after)
    trace.count(node, "pads", axis, front)
    trace.count(node, "pads", axis + rank, back)
    zero = carrier.zero and float(node.kwargs["value"] or 0) == 0.0  # pyright: ignore[reportArgumentType]  # a number
    return Carrier((axis,), np.concatenate([front, carrier.ids, back]), zero)


@rule(padding.pad_by)
def pass_computed_pad(trace: Trace, node: fx.Node) -> Carried:
    """Channels go on along axes that nothing is added to in any run."""
    x, pads = node.args[:2]
    assert isinstance(pads, fx.Node)
    reason = f"{trace.name(node)} pads it by computed sizes"
    if evaluated(trace, pads) != evaluated(trace, pads, channels=2):
        for value in sources(pads):
            trace.lock_all(value, reason)
    kept = _untouched(trace, node, len(trace.shape(x)))
    return trace.only(x, sorted(kept), reason)


def _untouched(trace: Trace, node: fx.Node, rank: int) -> set[int]:
    """The axes along which the sizes are 0 whatever comes in."""
    _, pads, _, axes = node.args
    sizes = in_every_run(trace, pads)
    along = list(range(rank)) if axes is None else in_every_run(trace, axes)
    if sizes is None or along is None or None in along:
        return set()
    pairs = zip(along, sizes[: len(along)], sizes[len(along) :], strict=True)
    return set(range(rank)) - {axis % rank for axis, before, after in pairs if (before, after) != (0, 0)}


@rule(same_padding.pad_same, same_padding.crop_to)
def pass_same_padding(trace: Trace, node: fx.Node) -> Carried:
    """Places behind the channels come and go."""
    return trace.only(node.args[0], [0, 1], f"{trace.name(node)} pads or crops it")
