"""Operators into which onnxruntime fuses several, read as what they were fused from."""

from collections.abc import Callable
from typing import Any

import torch

from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops import activations
from core.network.ops.arithmetic import add, mul
from core.network.ops.conv import build_conv
from core.network.ops.linear import build_gemm, linear, matmul
from core.network.ops.shape import transpose
from core.network.registry import operator
from core.network.unsupported import Unsupported
from core.network.values import Value

ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "Relu": (activations.relu, ()),
    "Sigmoid": (torch.sigmoid, ()),
    "Tanh": (torch.tanh, ()),
    "LeakyRelu": (activations.leaky_relu, ("alpha",)),
    "HardSigmoid": (activations.hard_sigmoid, ("alpha", "beta")),
    "Clip": (activations.clip, ("low", "high")),
}
"""What a fused convolution may end in, and the literals that its parameters are."""


@operator("com.microsoft.Gelu")
def build_gelu(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(activations.gelu, node.input(0), approximate="none")


@operator("com.microsoft.BiasGelu", "com.microsoft.FastGelu")
def build_bias_gelu(builder: Builder, node: OnnxNode) -> Value:
    """FastGelu is the approximation by tanh, and its bias may be left out."""
    approximate = "tanh" if node.op == "FastGelu" else "none"
    x = builder.call(add, node.input(0), node.input(1)) if node.given(1) else node.input(0)
    return builder.call(activations.gelu, x, approximate=approximate)


@operator("com.microsoft.QuickGelu")
def build_quick_gelu(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(activations.swish, node.input(0), alpha=node.attribute("alpha", 1.702))


@operator("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def build_fused_matmul(builder: Builder, node: OnnxNode) -> Value:
    """alpha * A' B', each matrix transposed if the node says so."""
    node.only("alpha", "transA", "transB", "transBatchA", "transBatchB")
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise Unsupported(f"{node.op} with the batch transposed")
    alpha, is_flipped = node.attribute("alpha", 1.0), bool(node.attribute("transB", 0))
    if node.is_constant(1) and not node.is_constant(0) and node.tensor(1).dim() == 2:
        weight = node.tensor(1) if is_flipped else node.tensor(1).T
        a = _flipped(builder, node, 0) if node.attribute("transA", 0) else node.input(0)
        return linear(builder, node, a, f"product{is_flipped}{alpha}", weight * alpha, None)
    if node.attribute("transA", 0) and node.rank(1) == 1:
        raise Unsupported(f"{node.op} of a transposed matrix and a vector")
    a, b = (_flipped(builder, node, k) if node.attribute(f"trans{'AB'[k]}", 0) else node.input(k) for k in (0, 1))
    y = builder.call(matmul, a, b)
    return y if alpha == 1.0 else builder.call(mul, y, builder.constant(torch.tensor(alpha)))


def _flipped(builder: Builder, node: OnnxNode, position: int) -> Value:
    """With the last two axes swapped; a vector stays."""
    rank = node.rank(position)
    if rank is None:
        raise Unsupported(f"{node.op} of a tensor of unknown rank")
    if rank < 2:
        return node.input(position)
    return builder.call(transpose, node.input(position), perm=[*range(rank - 2), rank - 1, rank - 2])


@operator("com.microsoft.FusedConv")
def build_fused_conv(builder: Builder, node: OnnxNode) -> Value:
    """A convolution, a fourth input that is added to it, and an activation."""
    y = build_conv(builder, node)
    assert not isinstance(y, tuple)
    y = builder.call(add, y, node.input(3)) if node.given(3) else y
    return _activated(builder, node, y, node.attribute("activation_params", []))


@operator("com.microsoft.FusedGemm")
def build_fused_gemm(builder: Builder, node: OnnxNode) -> Value:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    parameters = [node.attribute(name) for name in names if node.has(name)]
    y = build_gemm(builder, node)
    assert not isinstance(y, tuple)
    return _activated(builder, node, y, parameters)


def _activated(builder: Builder, node: OnnxNode, y: Value, parameters: list[float]) -> Value:
    activation = node.attribute("activation", "")
    if not activation:
        return y
    function, names = ACTIVATIONS.get(activation, (None, ()))
    if function is None or len(parameters) < len(names):
        raise Unsupported(f"{node.op} with {activation}")
    return builder.call(function, y, **dict(zip(names, parameters, strict=False)))
