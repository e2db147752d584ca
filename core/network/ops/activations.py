"""Activations and other functions of one tensor, element by element."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.simple import broadcasting, unary
from core.network.registry import ARITHMETIC, ELEMENTWISE, Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


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


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`slope` broadcasts against `x`."""
    return torch.where(x < 0, slope * x, x)


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
unary("Sign", torch.sign)
unary("Sin", torch.sin)
unary("Cos", torch.cos)
unary("Tan", torch.tan)
unary("Sinh", torch.sinh)
unary("Cosh", torch.cosh)
unary("Asin", torch.asin)
unary("Acos", torch.acos)
unary("Atan", torch.atan)
unary("Not", torch.logical_not)
unary("IsNaN", torch.isnan)
broadcasting("PRelu", prelu)
ARITHMETIC.add(prelu)
ELEMENTWISE.add(clip)


@operator("com.microsoft.Gelu")
def build_contrib_gelu(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(gelu, node.input(0), approximate="none")


@operator("com.microsoft.QuickGelu")
def build_quick_gelu(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(swish, node.input(0), alpha=node.attribute("alpha", 1.702))


@emits(gelu)
def emit_gelu(out: Emission, call: Call) -> str:
    out.require_opset(20)
    return out.node("Gelu", call.inputs, name=call.base, approximate=call.kwargs["approximate"])


@emits(swish)
def emit_swish(out: Emission, call: Call) -> str:
    (x,) = call.inputs
    scaled = out.node("Mul", [x, out.scalar(f"{call.base}/alpha", call.kwargs["alpha"])], name=f"{call.base}/scaled")
    return out.node("Mul", [x, out.node("Sigmoid", [scaled], name=f"{call.base}/gate")], name=call.base)


@operator("Clip")
def build_clip(builder: Builder, node: OnnxNode) -> Value:
    low = node.attribute("min") if node.has("min") else node.number(1)
    high = node.attribute("max") if node.has("max") else node.number(2)
    if low is not None and high is not None and low > high:
        raise Unsupported("Clip with min above max")
    return builder.call(clip, node.input(0), low=low, high=high)


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
    """As in inference, unless a step turns it on; the mask output is not made."""
    if node.extra_outputs():
        raise Unsupported("Dropout whose mask is used")
    if node.given(2) and bool(node.number(2)):
        raise Unsupported("Dropout in training mode")
    ratio = node.attribute("ratio", 0.5) if node.opset < 12 else node.number(1, 0.5)
    if node.is_constant(0):
        return (builder.call(identity, node.input(0)),)
    return (builder.module(nn.Dropout(float(ratio or 0.0)), node.input(0)),)


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
