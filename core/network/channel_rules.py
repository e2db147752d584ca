"""How identities of channels pass each operator of the normal form.

An identity may end only in a linear contraction over its axis; any other reduction over it, any output and any
operator without a rule locks it, with the reason.
"""

from __future__ import annotations

import numpy as np
from torch import fx, nn

from core.network.identities import Ids
from core.network.ops.linear import matmul
from core.network.registry import BROADCASTING, ELEMENTWISE
from core.network.trace import Axes, Trace, rule

FORMULA = "its weight is stored by a formula that can't be cut"


@rule(nn.modules.conv._ConvNd)
def pass_convolution(trace: Trace, node: fx.Node) -> Axes:
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.modules.conv._ConvNd)
    inputs = trace.channel_ids(x, 1)
    if module.groups == 1:
        outputs = trace.fresh(module.out_channels)
        _weight(trace, owner, outputs, inputs, 0, 1)
    elif module.in_channels == module.groups:
        outputs = np.repeat(inputs, module.out_channels // module.groups)
        _weight(trace, owner, outputs, None, 0, 1)
    else:
        outputs = _grouped(trace, owner, module, inputs)
    return [None, outputs, *[None] * (len(module.kernel_size))]


def _weight(trace: Trace, owner: str, outputs: Ids, inputs: Ids | None, out_axis: int, in_axis: int) -> None:
    trace.parameter(owner, "weight", out_axis, outputs, produces=True)
    if inputs is not None:
        trace.parameter(owner, "weight", in_axis, inputs)
    if getattr(trace.module_named(owner), "bias", None) is not None:
        trace.parameter(owner, "bias", 0, outputs, produces=True)
    if not trace.is_cuttable(owner, "weight"):
        trace.lock(outputs, FORMULA)
        trace.lock(inputs, FORMULA)


def _grouped(trace: Trace, owner: str, module: nn.modules.conv._ConvNd, inputs: Ids) -> Ids:
    """Every group reads its own channels; all must keep equally many, in and out."""
    outputs = trace.fresh(module.out_channels)
    parts = inputs.reshape(module.groups, -1)
    _weight(trace, owner, outputs, None, 0, 1)
    trace.parameter(owner, "weight", 1, parts[0], parts=parts)
    trace.balance(parts)
    trace.balance(outputs.reshape(module.groups, -1))
    if not trace.is_plain(owner, "weight"):
        trace.lock(inputs, FORMULA)
    return outputs


@rule(nn.modules.conv._ConvTransposeNd)
def pass_transposed_convolution(trace: Trace, node: fx.Node) -> Axes:
    """Weights are (in, out / groups, *kernel)."""
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.modules.conv._ConvTransposeNd)
    inputs = trace.channel_ids(x, 1)
    if module.groups == 1:
        outputs = trace.fresh(module.out_channels)
        _weight(trace, owner, outputs, inputs, 1, 0)
    else:
        reason = "a transposed convolution in groups reads it"
        trace.lock(inputs, reason)
        outputs = trace.locked(module.out_channels, reason)
    return [None, outputs, *[None] * len(module.kernel_size)]


@rule(nn.Linear)
def pass_linear(trace: Trace, node: fx.Node) -> Axes:
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.Linear)
    inputs = trace.channel_ids(x, -1)
    outputs = trace.fresh(module.out_features)
    _weight(trace, owner, outputs, inputs, 0, 1)
    return [*trace.axes(x)[:-1], outputs]


@rule(nn.modules.batchnorm._BatchNorm)
def pass_batch_norm(trace: Trace, node: fx.Node) -> Axes:
    owner, x = str(node.target), node.args[0]
    ids = trace.channel_ids(x, 1)
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        if getattr(trace.module(node), tensor, None) is not None:
            trace.parameter(owner, tensor, 0, ids)
    return list(trace.axes(x))


@rule(nn.LayerNorm)
def pass_layer_norm(trace: Trace, node: fx.Node) -> Axes:
    module, x = trace.module(node), node.args[0]
    assert isinstance(module, nn.LayerNorm)
    for ids in trace.axes(x)[-len(module.normalized_shape) :]:
        trace.lock(ids, f"{trace.name(node)} averages over it")
    return list(trace.axes(x))


@rule(*ELEMENTWISE, nn.Dropout, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Softplus)
def pass_elementwise(trace: Trace, node: fx.Node) -> Axes:
    return list(trace.axes(node.args[0]))


@rule(*BROADCASTING)
def pass_broadcasting(trace: Trace, node: fx.Node) -> Axes:
    """Axes are aligned from the right; where both operands carry channels, they are united."""
    operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
    shape = trace.shape(node)
    result: Axes = [None] * len(shape)
    for back in range(1, len(shape) + 1):
        ids = _aligned(trace, operands, back, shape[-back])
        result[-back] = ids
    return result


def _aligned(trace: Trace, operands: list[fx.Node], back: int, size: int) -> Ids | None:
    """Identities along one axis, counted from the right, of operands that broadcast there."""
    reach = [o for o in operands if len(trace.shape(o)) >= back and trace.shape(o)[-back] == size]
    known = [ids for o in reach if (ids := trace.axes(o)[-back]) is not None]
    if not known:
        return None
    first = known[0]
    for other in known[1:]:
        trace.unite(first, other)
    if size == 1:
        return first
    for operand in reach:
        if trace.axes(operand)[-back] is None:
            _follow(trace, operand, back, first)
    return first


def _follow(trace: Trace, operand: fx.Node, back: int, ids: Ids) -> None:
    """A constant along a channel axis is cut with its channel; any other value without channels locks it."""
    if operand.op == "get_attr" and len(operand.users) == 1:
        axis = len(trace.shape(operand)) - back
        trace.parameter("", str(operand.target), axis, ids)
        return
    trace.lock(ids, f"{trace.name(operand)} is added to it or multiplied with it and can't be cut")


@rule(matmul)
def pass_matmul(trace: Trace, node: fx.Node) -> Axes:
    """A product of two computed values: rows and columns pass, what is contracted stays."""
    a, b = node.args
    shape_a, shape_b = trace.shape(a), trace.shape(b)
    reason = f"{trace.name(node)} multiplies two computed values over it"
    trace.lock(trace.axes(a)[-1], reason)
    trace.lock(trace.axes(b)[-2 if len(shape_b) > 1 else -1], reason)
    result: Axes = [None] * len(trace.shape(node))
    for operand in (a, b):
        for ids in trace.axes(operand)[:-2]:
            trace.lock(ids, reason)
    if len(shape_b) > 1:
        result[-1] = trace.axes(b)[-1]
    if len(shape_a) > 1:
        result[-2 if len(shape_b) > 1 else -1] = trace.axes(a)[-2]
    return result
