"""How identities of channels pass what lays images and sequences out anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.trace import Trace, rule
from core.network.ops.patches import center_crop_pad, center_crop_pad_to, col2im, col2im_to
from core.network.ops.sequences import reverse_sequence


@rule(col2im, col2im_to)
def pass_col2im(trace: Trace, node: fx.Node) -> Carried:
    """The rows that make up a channel's patches live and die together."""
    x = node.args[0]
    block: Any = node.kwargs["block"]
    trace.lock_others(x, [1], f"{trace.name(node)} spreads it over places")
    ids = trace.ids(x, 1)
    if ids is None:
        return []
    rows = ids.reshape(-1, math.prod(block))
    trace.unite(np.broadcast_to(rows[:, :1], rows.shape), rows)
    return [Carrier((1,), rows[:, 0].copy(), trace.is_zero(x, 1))]


@rule(center_crop_pad, center_crop_pad_to)
def pass_center_crop_pad(trace: Trace, node: fx.Node) -> Carried:
    """An axis that keeps its size by a literal keeps its channels."""
    x = node.args[0]
    rank = len(trace.shape(x))
    listed: Any = node.kwargs["axes"]
    cut = set()
    for place, axis in enumerate(range(rank) if listed is None else (axis % rank for axis in listed)):
        carrier = trace.carrier(x, axis)
        is_kept = node.target is center_crop_pad and trace.shape(x)[axis] == trace.shape(node)[axis]
        if carrier is not None and not carrier.is_block and is_kept:
            trace.count(node, "sizes", place, carrier.ids)
        else:
            trace.settle(x, axis, f"{trace.name(node)} pads or crops it")
            cut.add(axis)
    return [carrier for carrier in trace.carriers(x) if not cut & set(carrier.axes)]


@rule(reverse_sequence)
def pass_reverse_sequence(trace: Trace, node: fx.Node) -> Carried:
    """What each step holds goes with it."""
    x = node.args[0]
    rank = len(trace.shape(x))
    axes = {int(node.kwargs[name]) % rank for name in ("batch_axis", "time_axis")}  # pyright: ignore[reportArgumentType]  # int literals
    for axis in axes:
        trace.settle(x, axis, f"{trace.name(node)} moves it step by step")
    for lengths in node.all_input_nodes[1:]:
        trace.lock_all(lengths, f"it says how {trace.name(node)} moves")
    return [carrier for carrier in trace.carriers(x) if not axes & set(carrier.axes)]
