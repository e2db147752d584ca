"""How identities of channels pass the layers of the normal form.

An identity may end only in a linear contraction over its axis; any other reduction over it, any output and any
operator without a rule locks it, with the reason.
"""

from __future__ import annotations

import numpy as np
from torch import fx, nn

from core.network.channels.carriers import Carried, Carrier, along
from core.network.channels.identities import Ids
from core.network.channels.trace import Trace, rule

FORMULA = "its weight is stored by a formula that can't be cut"


@rule(nn.modules.conv._ConvNd)
def pass_convolution(trace: Trace, node: fx.Node) -> Carried:
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.modules.conv._ConvNd)
    inputs = _image_channels(trace, node)
    if module.groups == 1:
        outputs = trace.fresh(module.out_channels)
        _weight(trace, owner, outputs, inputs, 0, 1)
    elif module.in_channels == module.groups:
        outputs = np.repeat(inputs, module.out_channels // module.groups)
        _weight(trace, owner, outputs, None, 0, 1)
    else:
        outputs = _grouped(trace, owner, module, inputs)
    return _image(trace, x, outputs)


def _image_channels(trace: Trace, node: fx.Node) -> Ids:
    """The channels that a convolution reads; it mixes along the axes behind them."""
    x = node.args[0]
    trace.lock_others(x, [0, 1], f"{trace.name(node)} slides along it")
    return trace.channel_ids(x, 1)


def _image(trace: Trace, x: object, outputs: Ids) -> Carried:
    batch = trace.carrier(x, 0)
    return [*([batch.without_zero()] if batch else []), Carrier((1,), outputs, zero=True)]


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
        trace.lock(outputs, FORMULA)
    return outputs


@rule(nn.modules.conv._ConvTransposeNd)
def pass_transposed_convolution(trace: Trace, node: fx.Node) -> Carried:
    """Weights are (in, out / groups, *kernel)."""
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.modules.conv._ConvTransposeNd)
    inputs = _image_channels(trace, node)
    if module.groups == 1:
        outputs = trace.fresh(module.out_channels)
        _weight(trace, owner, outputs, inputs, 1, 0)
    else:
        outputs = _transposed_in_groups(trace, owner, module, inputs)
    return _image(trace, x, outputs)


def _transposed_in_groups(trace: Trace, owner: str, module: nn.modules.conv._ConvTransposeNd, inputs: Ids) -> Ids:
    """As in a grouped convolution with the roles of the two axes swapped."""
    if module.in_channels == module.groups:
        outputs = np.repeat(inputs, module.out_channels // module.groups)
        trace.parameter(owner, "weight", 0, inputs, produces=True)
    else:
        outputs = trace.fresh(module.out_channels)
        parts = outputs.reshape(module.groups, -1)
        trace.parameter(owner, "weight", 0, inputs)
        trace.parameter(owner, "weight", 1, parts[0], produces=True, parts=parts)
        trace.balance(parts)
        trace.balance(inputs.reshape(module.groups, -1))
    if module.bias is not None:
        trace.parameter(owner, "bias", 0, outputs, produces=True)
    if not trace.is_plain(owner, "weight"):
        trace.lock(inputs, FORMULA)
        trace.lock(outputs, FORMULA)
    return outputs


@rule(nn.Linear)
def pass_linear(trace: Trace, node: fx.Node) -> Carried:
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.Linear)
    inputs = trace.channel_ids(x, -1)
    outputs = trace.fresh(module.out_features)
    _weight(trace, owner, outputs, inputs, 0, 1)
    last = len(trace.shape(x)) - 1
    passed = [carrier.without_zero() for carrier in trace.carriers(x) if carrier.axis != last]
    return [*passed, Carrier((last,), outputs, zero=True)]


@rule(nn.Embedding)
def pass_embedding(trace: Trace, node: fx.Node) -> Carried:
    """The columns of the table are what the rows have at their end."""
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.Embedding)
    outputs = trace.fresh(module.embedding_dim)
    trace.parameter(owner, "weight", 1, outputs, produces=True)
    if not trace.is_cuttable(owner, "weight"):
        trace.lock(outputs, FORMULA)
    return [*trace.carriers(x), Carrier((len(trace.shape(x)),), outputs, zero=True)]


@rule(nn.modules.batchnorm._BatchNorm)
def pass_batch_norm(trace: Trace, node: fx.Node) -> Carried:
    owner, x = str(node.target), node.args[0]
    axis = 1 if len(trace.shape(x)) > 1 else 0
    trace.lock_others(x, [0, axis], f"{trace.name(node)} has one scale for all of it")
    ids = trace.channel_ids(x, axis)
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        if getattr(trace.module(node), tensor, None) is not None:
            trace.parameter(owner, tensor, 0, ids)
    batch = trace.carrier(x, 0) if axis else None
    return [*([batch.without_zero()] if batch else []), Carrier((axis,), ids, zero=True)]


@rule(nn.LayerNorm, nn.RMSNorm)
def pass_layer_norm(trace: Trace, node: fx.Node) -> Carried:
    """What is averaged over stays, or goes with its scale where approximations are asked for."""
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.LayerNorm | nn.RMSNorm)
    rank, width = len(trace.shape(x)), len(module.normalized_shape)
    if trace.approximate and width == 1:
        ids = trace.ids(x, -1)
        if ids is not None:
            trace.averaged.append(ids)
            _scales(trace, owner, module, ids)
            return along([*trace.axes(x)[:-1], ids])
    for axis in range(rank - width, rank):
        trace.settle(x, axis, f"{trace.name(node)} averages over it")
    return [carrier.without_zero() for carrier in trace.carriers(x)]


def _scales(trace: Trace, owner: str, module: nn.Module, ids: Ids) -> None:
    for tensor in ("weight", "bias"):
        if getattr(module, tensor, None) is not None:
            trace.parameter(owner, tensor, 0, ids)


@rule(nn.GroupNorm)
def pass_group_norm(trace: Trace, node: fx.Node) -> Carried:
    """A channel that is a group by itself is normalised over its own places only."""
    module, owner, x = trace.module(node), str(node.target), node.args[0]
    assert isinstance(module, nn.GroupNorm)
    trace.lock_others(x, [0, 1], f"{trace.name(node)} averages over it")
    ids = trace.channel_ids(x, 1)
    if module.num_groups == module.num_channels or trace.approximate:
        _scales(trace, owner, module, ids)
        if module.num_groups != module.num_channels:
            trace.averaged.append(ids)
            trace.balance(ids.reshape(module.num_groups, -1))
    else:
        trace.lock(ids, f"{trace.name(node)} averages over it")
    batch = trace.carrier(x, 0)
    return [*([batch.without_zero()] if batch else []), Carrier((1,), ids, zero=True)]
