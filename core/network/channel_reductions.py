"""How identities of channels pass normalisations, reductions and softmaxes."""

from __future__ import annotations

from typing import Any

from torch import fx

from core.network.ops import norm, reduction, resize, shape
from core.network.trace import Axes, Trace, rule


@rule(resize.resize)
def pass_resize(trace: Trace, node: fx.Node) -> Axes:
    return list(trace.axes(node.args[0]))


@rule(norm.instance_norm)
def pass_instance_norm(trace: Trace, node: fx.Node) -> Axes:
    """Each channel is normalised over its own places only."""
    x, *vectors = node.args
    ids = trace.channel_ids(x, 1)
    for vector in vectors:
        assert isinstance(vector, fx.Node)
        if vector.op == "get_attr" and len(vector.users) == 1:
            trace.parameter("", str(vector.target), 0, ids)
        else:
            trace.lock(ids, f"{trace.name(node)} scales it by a computed value")
    return list(trace.axes(x))


@rule(norm.lrn)
def pass_lrn(trace: Trace, node: fx.Node) -> Axes:
    """Every channel is divided by the size of its neighbours."""
    trace.lock(trace.axes(node.args[0])[1], f"{trace.name(node)} divides it by its neighbours")
    return list(trace.axes(node.args[0]))


@rule(norm.lp_normalize, reduction.softmax, reduction.log_softmax, reduction.cumsum)
def pass_along_one_axis(trace: Trace, node: fx.Node) -> Axes:
    axes = list(trace.axes(node.args[0]))
    axis: Any = node.kwargs["axis"]
    trace.lock(axes[axis], f"{trace.name(node)} mixes it along its axis")
    return axes


@rule(reduction.softmax_from, reduction.log_softmax_from)
def pass_old_softmax(trace: Trace, node: fx.Node) -> Axes:
    axes = list(trace.axes(node.args[0]))
    first: Any = node.kwargs["axis"]
    for ids in axes[first:]:
        trace.lock(ids, f"{trace.name(node)} mixes it along its axis")
    return axes


@rule(*reduction.OPERATOR)
def pass_reduction(trace: Trace, node: fx.Node) -> Axes:
    axes: Any = node.kwargs["axes"]
    return _reduced(trace, node, axes)


@rule(reduction.argmax, reduction.argmin)
def pass_arg(trace: Trace, node: fx.Node) -> Axes:
    axis: Any = node.kwargs["axis"]
    return _reduced(trace, node, [axis])


def _reduced(trace: Trace, node: fx.Node, axes: list[int] | None) -> Axes:
    x = node.args[0]
    rank = len(trace.axes(x))
    gone = {axis % rank for axis in axes} if axes else set(range(rank))
    for axis in gone:
        trace.lock(trace.axes(x)[axis], f"{trace.name(node)} reduces it")
    kept = [None if axis in gone else ids for axis, ids in enumerate(trace.axes(x))]
    return kept if node.kwargs["keepdims"] else [ids for axis, ids in enumerate(kept) if axis not in gone]


@rule(shape.shape_of, shape.size_of)
def pass_shape(trace: Trace, node: fx.Node) -> Axes:
    """Sizes that are computed follow the cut by themselves."""
    return [None] * len(trace.shape(node))
