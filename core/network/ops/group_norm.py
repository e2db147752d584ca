"""Normalisations of groups of channels and over chosen axes.

Wu and He 2018, arXiv:1803.08494.
"""

import torch
from torch import Tensor, nn

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import add, mul
from core.network.ops.norm import instance_norm
from core.network.ops.shape import reshape, reshape_to, shape_of
from core.network.ops.weights import emit_weight
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


def group_normalize(x: Tensor, *, groups: int, eps: float) -> Tensor:
    """To mean 0 and variance 1 over each group of channels and all places."""
    return torch.group_norm(x, groups, eps=eps)


class GroupNorm(nn.GroupNorm):
    """torch's own, which refuses a group of one number."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def mean_variance_normalize(x: Tensor, *, axes: list[int]) -> Tensor:
    """To mean 0 and variance 1 over `axes`; 1e-9 is added to the deviation, as the standard says."""
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


@operator("GroupNormalization")
def build_group_norm(builder: Builder, node: OnnxNode) -> Value:
    """A scale and a bias for each channel since opset 21; before it for each group."""
    node.only("num_groups", "epsilon", "stash_type")
    groups, eps = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    if node.opset < 21:
        return _by_group(builder, node, groups, eps)
    if node.is_constant(1) and node.is_constant(2) and not node.is_constant(0):
        module = GroupNorm(groups, node.tensor(1).numel(), eps=eps)
        module.weight, module.bias = builder.parameter(node, 1), builder.parameter(node, 2)
        return builder.module(module, node.input(0), layer=node.layer)
    rank = node.rank(0)
    if rank is None:
        raise Unsupported("GroupNormalization of a tensor of unknown rank with a computed scale")
    shape = [1, -1, *[1] * (rank - 2)]
    scale, bias = (builder.call(reshape, node.input(k), shape=shape) for k in (1, 2))
    y = builder.call(group_normalize, node.input(0), groups=groups, eps=eps)
    return builder.call(add, builder.call(mul, y, scale), bias)


def _by_group(builder: Builder, node: OnnxNode, groups: int, eps: float) -> Value:
    """A group as one channel of an instance normalisation."""
    x = node.input(0)
    parts = builder.call(reshape, x, shape=[0, groups, -1])
    normal = builder.call(instance_norm, parts, node.input(1), node.input(2), eps=eps)
    return builder.call(reshape_to, normal, builder.call(shape_of, x, start=0, end=None))


@emits(nn.GroupNorm)
def emit_group_norm(out: Emission, call: Call) -> str:
    module = call.module
    assert isinstance(module, nn.GroupNorm)
    out.require_opset(21)
    inputs = [*call.inputs, emit_weight(out, call, "weight"), emit_weight(out, call, "bias")]
    return out.node("GroupNormalization", inputs, name=call.base, num_groups=module.num_groups, epsilon=module.eps)


@emits(group_normalize)
def emit_group_normalize(out: Emission, call: Call) -> str:
    """As exporters write it: every group as one channel of an instance normalisation."""
    (x,), base, groups = call.inputs, call.base, call.kwargs["groups"]
    parts = out.node("Reshape", [x, out.ints(f"{base}/groups", [0, groups, -1])], name=f"{base}/parts")
    scale, bias = (
        out.floats(f"{base}/{name}", torch.full([groups], value)) for name, value in (("one", 1.0), ("zero", 0.0))
    )
    normal = out.node("InstanceNormalization", [parts, scale, bias], name=f"{base}/normal", epsilon=call.kwargs["eps"])
    return out.node("Reshape", [normal, out.node("Shape", [x], name=f"{base}/shape")], name=base)


@operator("MeanVarianceNormalization")
def build_mean_variance(builder: Builder, node: OnnxNode) -> Value:
    node.only("axes")
    if node.opset < 9:
        raise Unsupported("MeanVarianceNormalization from before the standard had it")
    return builder.call(mean_variance_normalize, node.input(0), axes=node.attribute("axes", [0, 2, 3]))


@emits(mean_variance_normalize)
def emit_mean_variance(out: Emission, call: Call) -> str:
    return out.node("MeanVarianceNormalization", call.inputs, name=call.base, axes=call.kwargs["axes"])
