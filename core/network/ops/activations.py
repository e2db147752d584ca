"""Activations and other functions of one tensor, element by element."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, nn

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.simple import broadcasting, unary
from core.network.registry import ARITHMETIC, ELEMENTWISE, Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value


def relu(x: Tensor) -> Tensor:
    return F.relu(x)


def leaky_relu(x: Tensor, *, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


def thresholded_relu(x: Tensor, *, alpha: float) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


def elu(x: Tensor, *, alpha: float) -> Tensor:
    return F.elu(x, alpha)


def selu(x: Tensor, *, alpha: float, gamma: float) -> Tensor:
    return gamma * F.elu(x, alpha)


def celu(x: Tensor, *, alpha: float) -> Tensor:
    return F.celu(x, alpha)


def hard_sigmoid(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def hard_swish(x: Tensor) -> Tensor:
    return F.hardswish(x)


def swish(x: Tensor, *, alpha: float) -> Tensor:
    return x * torch.sigmoid(alpha * x)


def softplus(x: Tensor) -> Tensor:
    return F.softplus(x)


def gelu(x: Tensor, *, approximate: str) -> Tensor:
    return F.gelu(x, approximate=approximate)


def mish(x: Tensor) -> Tensor:
    return F.mish(x)


def clip(x: Tensor, *, low: float | int | None, high: float | int | None) -> Tensor:
    """Between two literals; None for no bound."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def clip_between(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Between two computed scalars; where they cross, the upper one holds."""
    bounds = [None if bound is None else bound.to(x.device) for bound in (low, high)]
    return x if bounds == [None, None] else torch.clamp(x, *bounds)


def shrink(x: Tensor, *, bias: float, lambd: float) -> Tensor:
    """Zero up to `lambd` on both sides, and drawn in by `bias` beyond it."""
    drawn = torch.where(x > lambd, x - bias, torch.zeros_like(x))
    return torch.where(x < -lambd, x + bias, drawn)


def is_inf(x: Tensor, *, detect_negative: int, detect_positive: int) -> Tensor:
    found = torch.isposinf(x) if detect_positive else torch.zeros_like(x, dtype=torch.bool)
    return found | torch.isneginf(x) if detect_negative else found


def all_kept(x: Tensor) -> Tensor:
    """The mask of a dropout that drops nothing."""
    return torch.ones_like(x, dtype=torch.bool)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`slope` broadcasts against `x`."""
    return torch.where(x < 0, slope * x, x)


def sign(x: Tensor) -> Tensor:
    """What is no number has none either."""
    return torch.where(torch.isnan(x), x, torch.sign(x))


def identity(x: Tensor) -> Tensor:
    return x


unary("Relu", relu)
unary("LeakyRelu", leaky_relu, alpha=0.01)
unary("ThresholdedRelu", thresholded_relu, alpha=1.0)
unary("Elu", elu, alpha=1.0)
unary("Selu", selu, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)
unary("Celu", celu, alpha=1.0)
unary("HardSigmoid", hard_sigmoid, alpha=0.2, beta=0.5)
unary("HardSwish", hard_swish)
unary("Swish", swish, alpha=1.0)
unary("Softplus", softplus)
unary("Softsign", F.softsign)
unary("Mish", mish)
unary("Gelu", gelu, approximate="none")
unary("Sigmoid", torch.sigmoid)
unary("Tanh", torch.tanh)
unary("Identity", identity)
unary("Erf", torch.erf)
unary("Exp", torch.exp)
unary("Log", torch.log)
unary("Sqrt", torch.sqrt)
unary("Abs", torch.abs)
unary("Neg", torch.neg)
unary("Reciprocal", torch.reciprocal)
unary("Floor", torch.floor)
unary("Ceil", torch.ceil)
unary("Round", torch.round)
unary("Sign", sign)
unary("Sin", torch.sin)
unary("Cos", torch.cos)
unary("Tan", torch.tan)
unary("Sinh", torch.sinh)
unary("Cosh", torch.cosh)
unary("Asin", torch.asin)
unary("Acos", torch.acos)
unary("Atan", torch.atan)
unary("Asinh", torch.asinh)
unary("Acosh", torch.acosh)
unary("Atanh", torch.atanh)
unary("Shrink", shrink, bias=0.0, lambd=0.5)
unary("Not", torch.logical_not)
unary("IsInf", is_inf, detect_negative=1, detect_positive=1)
unary("IsNaN", torch.isnan)
broadcasting("PRelu", prelu)
ARITHMETIC.add(prelu)
ELEMENTWISE.add(clip)


@emits(gelu)
def emit_gelu(out: Emission, call: Call) -> str:
    """The operator where the opset has it, else its formula, Hendrycks and Gimpel 2016, arXiv:1606.08415."""
    (x,), base, approximate = call.inputs, call.base, call.kwargs["approximate"]
    if out.opset >= 20:
        return out.node("Gelu", [x], name=base, approximate=approximate)
    half, one = out.scalar(f"{base}/half", 0.5), out.scalar(f"{base}/one", 1.0)
    if approximate == "tanh":
        cube = out.node("Mul", [out.node("Mul", [x, x], name=f"{base}/square"), x], name=f"{base}/cube")
        part = out.node("Mul", [cube, out.scalar(f"{base}/cubic", 0.044715)], name=f"{base}/part")
        inner = out.node("Add", [x, part], name=f"{base}/inner")
        scaled = out.node("Mul", [inner, out.scalar(f"{base}/scale", math.sqrt(2 / math.pi))], name=f"{base}/scaled")
        bend = out.node("Tanh", [scaled], name=f"{base}/bend")
    else:
        scaled = out.node("Div", [x, out.scalar(f"{base}/scale", math.sqrt(2))], name=f"{base}/scaled")
        bend = out.node("Erf", [scaled], name=f"{base}/bend")
    product = out.node("Mul", [x, out.node("Add", [bend, one], name=f"{base}/gate")], name=f"{base}/product")
    return out.node("Mul", [product, half], name=base)


@emits(swish)
def emit_swish(out: Emission, call: Call) -> str:
    (x,), base, alpha = call.inputs, call.base, call.kwargs["alpha"]
    if out.opset >= 24:
        return out.node("Swish", [x], name=base, alpha=alpha)
    scaled = x if alpha == 1 else out.node("Mul", [x, out.scalar(f"{base}/alpha", alpha)], name=f"{base}/scaled")
    return out.node("Mul", [x, out.node("Sigmoid", [scaled], name=f"{base}/gate")], name=base)


@operator("Clip")
def build_clip(builder: Builder, node: OnnxNode) -> Value:
    """Constant bounds of floats are literals."""
    if node.opset < 11:
        return builder.call(clip, node.input(0), low=node.attribute("min"), high=node.attribute("max"))
    given = [node.input(position) if node.given(position) else None for position in (1, 2)]
    if all(bound is None or (isinstance(bound, Constant) and bound.tensor.is_floating_point()) for bound in given):
        return builder.call(clip, node.input(0), low=node.number(1), high=node.number(2))
    return builder.call(clip_between, node.input(0), *given)


@emits(clip_between)
def emit_clip_between(out: Emission, call: Call) -> str:
    return out.node("Clip", call.inputs, name=call.base)


@emits(clip)
def emit_clip(out: Emission, call: Call) -> str:
    low, high = call.kwargs["low"], call.kwargs["high"]
    if out.opset < 11:
        given = (("min", low), ("max", high))
        bounds: dict[str, Any] = {name: float(value) for name, value in given if value is not None}
        return out.node("Clip", call.inputs, name=call.base, **bounds)
    names = [
        "" if value is None else out.constant(f"{call.base}/{side}", torch.tensor(value))
        for side, value in (("min", low), ("max", high))
    ]
    return out.node("Clip", [*call.inputs, *names], name=call.base)


@operator("Dropout")
def build_dropout(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    """As in inference, unless a step turns it on; the mask, where it is used, is always full."""
    if node.given(2) and bool(node.number(2)):
        raise Unsupported("Dropout in training mode")
    ratio = node.attribute("ratio", 0.5) if node.opset < 12 else node.number(1, 0.5)
    x = node.input(0)
    kept = (builder.call(all_kept, x),) if node.extra_outputs() else ()
    if node.is_constant(0):
        return builder.call(identity, x), *kept
    return builder.module(nn.Dropout(float(ratio or 0.0)), x), *kept


@emits(all_kept)
def emit_all_kept(out: Emission, call: Call) -> str:
    shape = out.node("Shape", call.inputs, name=f"{call.base}/shape")
    value = helper.make_tensor("value", TensorProto.BOOL, [1], [1])
    return out.node("ConstantOfShape", [shape], name=call.base, value=value)


@emits(nn.Dropout)
def emit_dropout(out: Emission, call: Call) -> str:
    assert isinstance(call.module, nn.Dropout)
    if out.opset < 12:
        return out.node("Dropout", call.inputs, name=call.base, ratio=call.module.p)
    return out.node("Dropout", [*call.inputs, out.scalar(f"{call.base}/ratio", call.module.p)], name=call.base)


MODULES = {nn.ReLU: "Relu", nn.Sigmoid: "Sigmoid", nn.Tanh: "Tanh", nn.Identity: "Identity", nn.Softplus: "Softplus"}


@emits(*MODULES)
def emit_module(out: Emission, call: Call) -> str:
    """Activations that techniques insert as modules."""
    assert call.module is not None
    op = next(MODULES[kind] for kind in type(call.module).__mro__ if kind in MODULES)
    return out.node(op, call.inputs, name=call.base)
