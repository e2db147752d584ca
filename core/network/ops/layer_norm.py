"""Normalisations over the last axes: LayerNormalization, RMSNormalization, and onnxruntime's fused forms of them.

Ba et al. 2016, arXiv:1607.06450; Zhang and Sennrich 2019, arXiv:1910.07467. With constant scales they are torch's
layers; elsewhere the plain normalisation and a multiplication.
"""

import torch
from onnx import NodeProto
from torch import Tensor, nn

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import add, mul
from core.network.ops.reduction import reduce_mean
from core.network.ops.weights import emit_weight
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value

SKIP = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
"""Operators that add before they normalise; with other weights they are written as they came."""


def normalize(x: Tensor, *, axes: list[int], eps: float) -> Tensor:
    """To mean 0 and variance 1 over `axes`; `eps` is added to the variance."""
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)


def rms_normalize(x: Tensor, *, axes: list[int], eps: float) -> Tensor:
    """To mean square 1 over `axes`."""
    return x * inverse_root_mean_square(x, axes=axes, eps=eps)


def inverse_deviation(x: Tensor, *, axes: list[int], eps: float) -> Tensor:
    """What `normalize` multiplies with."""
    return inverse_root_mean_square(x - x.mean(axes, keepdim=True), axes=axes, eps=eps)


def inverse_root_mean_square(x: Tensor, *, axes: list[int], eps: float) -> Tensor:
    """What `rms_normalize` multiplies with."""
    return torch.rsqrt(x.square().mean(axes, keepdim=True) + eps)


@operator("LayerNormalization")
def build_layer_norm(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only("axis", "epsilon", "stash_type")
    axes = _last_axes(node)
    x, eps = node.input(0), node.attribute("epsilon", 1e-5)
    y = _layer_norm(builder, node, x, axes, eps, scale=1, bias=2)
    if not node.extra_outputs():
        return (y,)
    mean = builder.call(reduce_mean, x, axes=axes, keepdims=1)
    return y, mean, builder.call(inverse_deviation, x, axes=axes, eps=eps)


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def build_rms_norm(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """The second output of the simplified form is the inverse of the root mean square."""
    node.only("axis", "epsilon", "stash_type")
    axes = _last_axes(node)
    x, eps = node.input(0), node.attribute("epsilon", 1e-5)
    y = _rms_norm(builder, node, x, axes, eps, scale=1)
    if not node.extra_outputs():
        return (y,)
    return y, builder.call(inverse_root_mean_square, x, axes=axes, eps=eps)


@operator(SKIP[0], f"com.microsoft.{SKIP[0]}")
def build_skip_layer_norm(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """Of input + skip (+ bias), which is the fourth output."""
    node.only("epsilon")
    x, eps = _joined(builder, node, bias=4), node.attribute("epsilon", 1e-12)
    return _layer_norm(builder, node, x, [-1], eps, scale=2, bias=3), *_unread(builder, node), x


@operator(SKIP[1], f"com.microsoft.{SKIP[1]}")
def build_skip_rms_norm(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only("epsilon")
    x, eps = _joined(builder, node, bias=3), node.attribute("epsilon", 1e-12)
    return _rms_norm(builder, node, x, [-1], eps, scale=2), *_unread(builder, node), x


def _joined(builder: Builder, node: OnnxNode, bias: int) -> Value:
    x = builder.call(add, node.input(0), node.input(1))
    return builder.call(add, x, node.input(bias)) if node.given(bias) else x


def _unread(builder: Builder, node: OnnxNode) -> tuple[Value, Value]:
    """In the place of mean and inverse deviation, which onnxruntime's fused operators make in training only."""
    if not set(node.proto.output[1:3]).isdisjoint(node.source.read):
        raise Unsupported(f"{node.op} whose statistics are used")
    nothing = builder.constant(torch.zeros(0))
    return nothing, nothing


def _last_axes(node: OnnxNode) -> list[int]:
    """The axes from `axis` on, counted from the end."""
    axis, rank = node.attribute("axis", -1), node.rank(0)
    if axis >= 0 and rank is None:
        raise Unsupported(f"{node.op} of a tensor of unknown rank")
    first = axis if axis < 0 else axis - (rank or 0)
    return list(range(first, 0))


def _layer_norm(
    builder: Builder, node: OnnxNode, x: Value, axes: list[int], eps: float, *, scale: int, bias: int
) -> Value:
    """`scale` and `bias` are positions of inputs; the bias may be left out."""
    if _is_layer(node, x, axes, (scale, bias)):
        module = nn.LayerNorm(list(node.tensor(scale).shape), eps=eps, bias=node.given(bias))
        module.weight = builder.parameter(node, scale)
        if node.given(bias):
            module.bias = builder.parameter(node, bias)
        return builder.module(module, x, layer=node.layer)
    y = builder.call(mul, builder.call(normalize, x, axes=axes, eps=eps), node.input(scale))
    return builder.call(add, y, node.input(bias)) if node.given(bias) else y


def _rms_norm(builder: Builder, node: OnnxNode, x: Value, axes: list[int], eps: float, *, scale: int) -> Value:
    if _is_layer(node, x, axes, (scale,)):
        module = nn.RMSNorm(list(node.tensor(scale).shape), eps=eps)
        module.weight = builder.parameter(node, scale)
        return builder.module(module, x, layer=node.layer)
    return builder.call(mul, builder.call(rms_normalize, x, axes=axes, eps=eps), node.input(scale))


def _is_layer(node: OnnxNode, x: Value, axes: list[int], positions: tuple[int, ...]) -> bool:
    """Whether torch's layers can hold the weights: constant, and of the size that is normalised."""
    given = [position for position in positions if node.given(position)]
    if isinstance(x, Constant) or not all(node.is_constant(position) for position in given):
        return False
    sizes = {tuple(node.tensor(position).shape) for position in given}
    shape = node.shape(0) or []
    normal = tuple(size if isinstance(size, int) else None for size in shape[axes[0] :]) or (None,) * len(axes)
    return len(sizes) == 1 and all(_fits(one, normal) for one in sizes)


def _fits(sizes: tuple[int, ...], normal: tuple[int | None, ...]) -> bool:
    """Whether `sizes` are those of the normalised axes, as far as these are known."""
    return len(sizes) == len(normal) and all(known in (None, size) for known, size in zip(normal, sizes, strict=True))


@emits(nn.LayerNorm)
def emit_layer_norm(out: Emission, call: Call) -> str:
    module = call.module
    assert isinstance(module, nn.LayerNorm)
    tensors = ["weight"] if module.bias is None else ["weight", "bias"]
    weights = [emit_weight(out, call, tensor) for tensor in tensors]
    if call.template is not None and call.template.op_type in SKIP:
        return _as_it_came(out, call, call.template, weights)
    if call.template is None:
        out.require_opset(17)
    axis = -len(module.normalized_shape)
    inputs = [*call.inputs, *weights]
    return out.node("LayerNormalization", inputs, name=call.base, axis=axis, epsilon=module.eps)


@emits(nn.RMSNorm)
def emit_rms_norm(out: Emission, call: Call) -> str:
    """Under the standard's name where the opset has it, else as onnxruntime calls it."""
    module = call.module
    assert isinstance(module, nn.RMSNorm)
    weight = emit_weight(out, call, "weight")
    if call.template is not None and call.template.op_type in SKIP:
        return _as_it_came(out, call, call.template, [weight])
    op = "RMSNormalization" if out.opset >= 23 else "SimplifiedLayerNormalization"
    axis = -len(module.normalized_shape)
    return out.node(op, [*call.inputs, weight], name=call.base, axis=axis, epsilon=module.eps)


def _as_it_came(out: Emission, call: Call, template: NodeProto, weights: list[str]) -> str:
    """The fused node with other weights."""
    node = NodeProto()
    node.CopyFrom(template)
    node.input[2 : 2 + len(weights)] = weights
    node.output[0] = out.fresh(call.base)
    out.nodes.append(node)
    return node.output[0]


@emits(normalize)
def emit_normalize(out: Emission, call: Call) -> str:
    (x,), base, axes = call.inputs, call.base, call.kwargs["axes"]
    centred = out.node("Sub", [x, emit_mean(out, x, axes, f"{base}/mean")], name=f"{base}/centred")
    inverse = emit_inverse(out, centred, axes, call.kwargs["eps"], base)
    return out.node("Mul", [centred, inverse], name=base)


@emits(rms_normalize)
def emit_rms_normalize(out: Emission, call: Call) -> str:
    (x,), base = call.inputs, call.base
    return out.node("Mul", [x, emit_inverse(out, x, call.kwargs["axes"], call.kwargs["eps"], base)], name=base)


@emits(inverse_deviation)
def emit_inverse_deviation(out: Emission, call: Call) -> str:
    (x,), base, axes = call.inputs, call.base, call.kwargs["axes"]
    centred = out.node("Sub", [x, emit_mean(out, x, axes, f"{base}/mean")], name=f"{base}/centred")
    return emit_inverse(out, centred, axes, call.kwargs["eps"], base)


@emits(inverse_root_mean_square)
def emit_inverse_root_mean_square(out: Emission, call: Call) -> str:
    return emit_inverse(out, call.inputs[0], call.kwargs["axes"], call.kwargs["eps"], call.base)


def emit_inverse(out: Emission, x: str, axes: list[int], eps: float, base: str) -> str:
    """1 over the root of the mean square, in operators that every opset has."""
    square = out.node("Mul", [x, x], name=f"{base}/square")
    mean = emit_mean(out, square, axes, f"{base}/variance")
    shifted = out.node("Add", [mean, out.scalar(f"{base}/eps", eps)], name=f"{base}/shifted")
    root = out.node("Sqrt", [shifted], name=f"{base}/root")
    return out.node("Reciprocal", [root], name=f"{base}/inverse")


def emit_mean(out: Emission, x: str, axes: list[int], name: str) -> str:
    if out.opset < 18:
        return out.node("ReduceMean", [x], name=name, axes=axes)
    return out.node("ReduceMean", [x, out.ints(f"{name}/axes", axes)], name=name)
