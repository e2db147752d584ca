"""How identities of channels pass normalisations without weights, reductions and softmaxes."""

from __future__ import annotations

from typing import Any

from torch import fx

from core.network.channels.carriers import Carried
from core.network.channels.following import follow
from core.network.channels.trace import Trace, rule
from core.network.ops import activations, group_norm, layer_norm, norm, reduction


@rule(activations.clip_between, activations.all_kept)
def pass_same_axes(trace: Trace, node: fx.Node) -> Carried:
    return [carrier.without_zero() for carrier in trace.carriers(node.args[0])]


@rule(layer_norm.normalize, layer_norm.rms_normalize, group_norm.mean_variance_normalize)
def pass_normalisation(trace: Trace, node: fx.Node) -> Carried:
    """Channels that are not averaged over go through."""
    axes: Any = node.kwargs["axes"]
    for axis in axes:
        carrier = trace.carrier(node.args[0], axis)
        if trace.approximate and carrier is not None and not carrier.is_block:
            trace.averaged.append(carrier.ids)
        else:
            trace.settle(node.args[0], axis, f"{trace.name(node)} averages over it")
    return [carrier.without_zero() for carrier in trace.carriers(node.args[0])]


@rule(norm.instance_norm)
def pass_instance_norm(trace: Trace, node: fx.Node) -> Carried:
    """Each channel is normalised over its own places only."""
    x, scale, bias = node.all_input_nodes
    kept = trace.only(x, [0, 1], f"{trace.name(node)} averages over it")
    ids = trace.channel_ids(x, 1)
    for vector in (scale, bias):
        own = trace.ids(vector, 0)
        if own is not None:
            trace.unite(ids, own)
        elif not follow(trace, vector, -1, ids):
            trace.lock(ids, f"{trace.name(node)} scales it by {trace.name(vector)}, which can't be cut")
    return kept if bias.op == "get_attr" else [carrier.without_zero() for carrier in kept]


@rule(norm.lrn)
def pass_lrn(trace: Trace, node: fx.Node) -> Carried:
    """Every channel is divided by the size of its neighbours."""
    trace.lock(trace.ids(node.args[0], 1), f"{trace.name(node)} divides it by its neighbours")
    return list(trace.carriers(node.args[0]))


@rule(norm.lp_normalize, reduction.softmax, reduction.log_softmax, reduction.hardmax)
@rule(reduction.cumsum, reduction.cumprod)
def pass_along_one_axis(trace: Trace, node: fx.Node) -> Carried:
    axis: Any = node.kwargs["axis"]
    trace.settle(node.args[0], axis, f"{trace.name(node)} mixes it along its axis")
    return [carrier.without_zero() for carrier in trace.carriers(node.args[0])]


@rule(reduction.softmax_from, reduction.log_softmax_from)
def pass_old_softmax(trace: Trace, node: fx.Node) -> Carried:
    first: Any = node.kwargs["axis"]
    x = node.args[0]
    for axis in range(first % max(len(trace.shape(x)), 1), len(trace.shape(x))):
        trace.settle(x, axis, f"{trace.name(node)} mixes it along its axis")
    return [carrier.without_zero() for carrier in trace.carriers(x)]


@rule(*reduction.OPERATOR)
def pass_reduction(trace: Trace, node: fx.Node) -> Carried:
    axes: Any = node.kwargs["axes"]
    return _reduced(trace, node, axes)


@rule(reduction.argmax, reduction.argmin)
def pass_arg(trace: Trace, node: fx.Node) -> Carried:
    axis: Any = node.kwargs["axis"]
    return [carrier.without_zero() for carrier in _reduced(trace, node, [axis])]


SUMS = {reduction.reduce_sum, reduction.reduce_l1, reduction.reduce_l2, reduction.reduce_sum_square}
"""Reductions to which a channel that is 0 adds nothing."""

KEEP_ZERO = SUMS | {reduction.reduce_mean, reduction.reduce_max, reduction.reduce_min, reduction.reduce_prod}


def _reduced(trace: Trace, node: fx.Node, axes: list[int] | None) -> Carried:
    x = node.args[0]
    rank = len(trace.shape(x))
    gone = {axis % rank for axis in axes} if axes else set(range(rank))
    for axis in gone:
        _end(trace, node, axis)
    kept = [carrier for carrier in trace.carriers(x) if not gone & set(carrier.axes)]
    if node.target not in KEEP_ZERO:
        kept = [carrier.without_zero() for carrier in kept]
    if node.kwargs["keepdims"]:
        return kept
    left = [axis for axis in range(rank) if axis not in gone]
    return [carrier.moved(left.index) for carrier in kept]


def _end(trace: Trace, node: fx.Node, axis: int) -> None:
    """A sum goes on without a channel that is 0; an average does not, unless approximations are asked for."""
    x = node.args[0]
    carrier = trace.carrier(x, axis)
    if carrier is None or (node.target in SUMS and carrier.zero and not carrier.is_block):
        return
    if trace.approximate and node.target is reduction.reduce_mean and not carrier.is_block:
        trace.averaged.append(carrier.ids)
        return
    done = "averages over it" if node.target is reduction.reduce_mean else "reduces it"
    trace.settle(x, axis, f"{trace.name(node)} {done}")
