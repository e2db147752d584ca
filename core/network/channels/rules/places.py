"""How identities of channels pass what reads and keeps elements at places that the data decide."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.identities import Ids
from core.network.channels.rules.layers import pass_convolution
from core.network.channels.sizes import count_computed
from core.network.channels.trace import Trace, rule
from core.network.ops.deform_conv import DeformConv
from core.network.ops.pool import max_pool_with_places
from core.network.ops.roi_align import roi_align
from core.network.ops.selection import compress
from core.network.ops.unpool import max_unpool, max_unpool_to


@rule(roi_align)
def pass_roi_align(trace: Trace, node: fx.Node) -> Carried:
    """Every channel is read in the same windows, which take the place of the images."""
    x = node.args[0]
    for value in node.all_input_nodes[1:]:
        trace.lock_all(value, f"it says where {trace.name(node)} reads")
    trace.lock_others(x, [1], f"{trace.name(node)} reads windows of it")
    return [carrier for carrier in trace.carriers(x) if carrier.axes == (1,)]


@rule(compress)
def pass_compress(trace: Trace, node: fx.Node) -> Carried:
    x, condition = node.all_input_nodes
    axis: Any = node.kwargs["axis"]
    trace.lock_all(condition, f"it says what {trace.name(node)} keeps")
    if axis is None:
        trace.lock_all(x, f"{trace.name(node)} picks from all of it")
        return []
    trace.settle(x, axis, f"{trace.name(node)} picks from it by a condition")
    axis %= len(trace.shape(x))
    return [carrier for carrier in trace.carriers(x) if axis not in carrier.axes]


@rule(max_pool_with_places)
def pass_pool_with_places(trace: Trace, node: fx.Node) -> list[Carried]:
    """The places are numbered across channels: they stay right only where an unpool of the same channels reads them."""
    x = node.args[0]
    trace.lock_others(x, [1], f"{trace.name(node)} joins places along it")
    readers = [user for member in node.users if member.args[1] == 1 for user in member.users]
    if any(_pool_of(user) is not node for user in readers):
        trace.lock(trace.ids(x, 1), f"{trace.name(node)} numbers places across it")
    return [[carrier for carrier in trace.carriers(x) if carrier.axes == (1,)], []]


@rule(max_unpool, max_unpool_to)
def pass_unpool(trace: Trace, node: fx.Node) -> Carried:
    """What comes back has the channels of what was pooled."""
    x, pool = node.args[0], _pool_of(node)
    trace.lock_others(x, [1], f"{trace.name(node)} spreads it over places")
    ids = trace.ids(x, 1)
    pooled = trace.channel_ids(pool.args[0], 1) if pool is not None else None
    if ids is None:
        trace.lock(pooled, f"{trace.name(node)} puts other values in its places")
        return []
    if pool is None or pooled is None or trace.shape(pool.args[0])[1:] != trace.shape(node)[1:]:
        for either in (ids, pooled):
            trace.lock(either, f"{trace.name(node)} reads its places in another shape")
    else:
        trace.unite(ids, pooled)
    if not _shape_follows(trace, node, ids):
        trace.lock(ids, f"{trace.name(node)} has its size as a constant")
    return [Carrier((1,), ids, trace.is_zero(x, 1))]


def _pool_of(node: fx.Node) -> fx.Node | None:
    """The pool whose places an unpool reads; None where they come from elsewhere, or the node is no unpool."""
    if node.target not in (max_unpool, max_unpool_to):
        return None
    places = node.args[-1]
    made = places.args[0] if isinstance(places, fx.Node) and places.target is operator.getitem else None
    return made if isinstance(made, fx.Node) and made.target is max_pool_with_places else None


def _shape_follows(trace: Trace, node: fx.Node, ids: Ids) -> bool:
    if node.target is max_unpool_to:
        return count_computed(trace, node, 1, ids)
    if node.kwargs["shape"] is not None:
        trace.count(node, "shape", 1, ids)
    return True


@rule(DeformConv)
def pass_deform_conv(trace: Trace, node: fx.Node) -> Carried:
    """A convolution; parts of the channels that are read at places of their own keep equally many."""
    module, x = trace.module(node), node.args[0]
    assert isinstance(module, DeformConv)
    for value in node.all_input_nodes[1:]:
        trace.lock_all(value, f"it says where {trace.name(node)} reads")
    if module.options.offset_groups > 1:
        trace.balance(trace.channel_ids(x, 1).reshape(module.options.offset_groups, -1))
    return pass_convolution(trace, node)
