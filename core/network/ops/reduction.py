"""Reductions over axes, arg-reductions and softmaxes."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.activations import identity
from core.network.ops.shape import flatten
from core.network.registry import Call, emits, operator, operator_of
from core.network.unsupported import Unsupported
from core.network.values import Value


def _axes(x: Tensor, axes: list[int] | None) -> list[int]:
    """None stands for all axes, and so does ONNX's empty list."""
    return axes or list(range(x.dim()))


def _bounds(x: Tensor) -> tuple[float, float]:
    """What is below and above every number of the type of `x`."""
    if x.is_floating_point():
        return -torch.inf, torch.inf
    return (False, True) if x.dtype is torch.bool else (torch.iinfo(x.dtype).min, torch.iinfo(x.dtype).max)


def reduce_mean(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    """Of nothing it is 0; of integers it is rounded towards 0."""
    if x.is_floating_point() and x.numel():
        return x.mean(_axes(x, axes), keepdim=bool(keepdims))
    total = reduce_sum(x, axes=axes, keepdims=keepdims)
    return total.div(max(x.numel() // max(total.numel(), 1), 1), rounding_mode="trunc")


def reduce_sum(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    return x.sum(_axes(x, axes), keepdim=bool(keepdims), dtype=x.dtype)


def reduce_max(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    if not x.numel():
        return torch.full_like(reduce_sum(x, axes=axes, keepdims=keepdims), _bounds(x)[0])
    return x.amax(_axes(x, axes), keepdim=bool(keepdims))


def reduce_min(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    if not x.numel():
        return torch.full_like(reduce_sum(x, axes=axes, keepdims=keepdims), _bounds(x)[1])
    return x.amin(_axes(x, axes), keepdim=bool(keepdims))


def reduce_prod(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in _axes(x, axes)), reverse=True):
        x = x.prod(axis, keepdim=bool(keepdims), dtype=x.dtype)
    return x


def reduce_l1(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    return x.abs().sum(_axes(x, axes), keepdim=bool(keepdims), dtype=x.dtype)


def reduce_l2(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    """Zeros have a gradient, which is 0."""
    wide = x if x.is_floating_point() else x.double()
    return torch.linalg.vector_norm(wide, dim=_axes(x, axes), keepdim=bool(keepdims)).to(x.dtype)


def reduce_sum_square(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    return x.square().sum(_axes(x, axes), keepdim=bool(keepdims), dtype=x.dtype)


def reduce_log_sum(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    return x.sum(_axes(x, axes), keepdim=bool(keepdims)).log().to(x.dtype)


def reduce_log_sum_exp(x: Tensor, *, axes: list[int] | None, keepdims: int) -> Tensor:
    return x.logsumexp(_axes(x, axes), keepdim=bool(keepdims)).to(x.dtype)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "ReduceMax": reduce_max,
    "ReduceMin": reduce_min,
    "ReduceProd": reduce_prod,
    "ReduceL1": reduce_l1,
    "ReduceL2": reduce_l2,
    "ReduceSumSquare": reduce_sum_square,
    "ReduceLogSum": reduce_log_sum,
    "ReduceLogSumExp": reduce_log_sum_exp,
}
OPERATOR = {function: op for op, function in REDUCTIONS.items()}


@operator(*REDUCTIONS)
def build_reduction(builder: Builder, node: OnnxNode) -> Value:
    node.only("axes", "keepdims", "noop_with_empty_axes")
    axes = node.ints_either("axes", 1)
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return _over_nothing(builder, node)
    return builder.call(REDUCTIONS[node.op], node.input(0), axes=axes or None, keepdims=node.attribute("keepdims", 1))


def _over_nothing(builder: Builder, node: OnnxNode) -> Value:
    """Each element reduced by itself."""
    if node.op not in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
        raise Unsupported(f"{node.op} over no axes")
    return builder.call(identity, node.input(0))


@emits(*OPERATOR)
def emit_reduction(out: Emission, call: Call) -> str:
    op = operator_of(call, OPERATOR)
    axes, attributes = call.kwargs["axes"], {"keepdims": call.kwargs["keepdims"]}
    if axes is None:
        return out.node(op, call.inputs, name=call.base, **attributes)
    if out.opset < (13 if op == "ReduceSum" else 18):
        return out.node(op, call.inputs, name=call.base, axes=axes, **attributes)
    return out.node(op, [*call.inputs, out.ints(f"{call.base}/axes", axes)], name=call.base, **attributes)


def argmax(x: Tensor, *, axis: int, keepdims: int, last: int = 0) -> Tensor:
    """Position of the first of the largest, or of the last."""
    if last:
        return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=bool(keepdims))
    return x.argmax(axis, keepdim=bool(keepdims))


def argmin(x: Tensor, *, axis: int, keepdims: int, last: int = 0) -> Tensor:
    """Position of the first of the smallest, or of the last."""
    if last:
        return x.shape[axis] - 1 - x.flip(axis).argmin(axis, keepdim=bool(keepdims))
    return x.argmin(axis, keepdim=bool(keepdims))


@operator("ArgMax", "ArgMin")
def build_arg(builder: Builder, node: OnnxNode) -> Value:
    function = argmax if node.op == "ArgMax" else argmin
    literals = {"axis": node.attribute("axis", 0), "keepdims": node.attribute("keepdims", 1)}
    if node.attribute("select_last_index", 0):
        literals["last"] = 1
    return builder.call(function, node.input(0), **literals)


@emits(argmax, argmin)
def emit_arg(out: Emission, call: Call) -> str:
    op = "ArgMax" if call.node.target is argmax else "ArgMin"
    attributes: dict[str, Any] = {name: call.kwargs[name] for name in ("axis", "keepdims")}
    if call.kwargs.get("last"):
        out.require_opset(12)
        attributes["select_last_index"] = 1
    return out.node(op, call.inputs, name=call.base, **attributes)


def hardmax(x: Tensor, *, axis: int) -> Tensor:
    """1 at the first of the largest along an axis, 0 elsewhere."""
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1) if x.numel() else x


@operator("Hardmax")
def build_hardmax(builder: Builder, node: OnnxNode) -> Value:
    axis, rank = node.attribute("axis", -1 if node.opset >= 13 else 1), node.rank(0)
    if node.opset < 13 and axis != -1 and (rank is None or axis != rank - 1):
        raise Unsupported("Hardmax over several axes taken together")
    return builder.call(hardmax, node.input(0), axis=axis)


@emits(hardmax)
def emit_hardmax(out: Emission, call: Call) -> str:
    return out.node("Hardmax", call.inputs, name=call.base, axis=call.kwargs["axis"])


def softmax(x: Tensor, *, axis: int) -> Tensor:
    return torch.softmax(x, axis)


def log_softmax(x: Tensor, *, axis: int) -> Tensor:
    return torch.log_softmax(x, axis)


def softmax_from(x: Tensor, *, axis: int) -> Tensor:
    """Before opset 13: over all axes from `axis` on, taken together."""
    return torch.softmax(flatten(x, axis=axis), 1).reshape(x.shape)


def log_softmax_from(x: Tensor, *, axis: int) -> Tensor:
    return F.log_softmax(flatten(x, axis=axis), 1).reshape(x.shape)


SOFTMAXES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Softmax": (softmax, softmax_from),
    "LogSoftmax": (log_softmax, log_softmax_from),
}


@operator(*SOFTMAXES)
def build_softmax(builder: Builder, node: OnnxNode) -> Value:
    """The old coercion to a matrix is the same as the new operator where `axis` is the last."""
    new, old = SOFTMAXES[node.op]
    if node.opset >= 13:
        return builder.call(new, node.input(0), axis=node.attribute("axis", -1))
    axis, rank = node.attribute("axis", 1), node.rank(0)
    is_last = axis == -1 or (rank is not None and axis == rank - 1)
    return builder.call(new if is_last else old, node.input(0), axis=axis)


@emits(softmax, log_softmax, softmax_from, log_softmax_from)
def emit_softmax(out: Emission, call: Call) -> str:
    """The new operator along the last axis means the same in every opset; elsewhere it needs opset 13."""
    op = "LogSoftmax" if call.node.target in (log_softmax, log_softmax_from) else "Softmax"
    if call.node.target in (softmax, log_softmax) and call.kwargs["axis"] != -1:
        out.require_opset(13)
    if call.node.target in (softmax_from, log_softmax_from) and out.opset >= 13:
        flat = out.node("Flatten", call.inputs, name=f"{call.base}/flat", axis=call.kwargs["axis"])
        soft = out.node(op, [flat], name=f"{call.base}/soft", axis=-1)
        shape = out.node("Shape", call.inputs, name=f"{call.base}/shape")
        return out.node("Reshape", [soft, shape], name=call.base)
    return out.node(op, call.inputs, name=call.base, axis=call.kwargs["axis"])


def cumsum(x: Tensor, *, axis: int, exclusive: int, reverse: int) -> Tensor:
    """Sums of all up to each place, without itself if `exclusive`, or from it to the end if `reverse`."""
    return _accumulated(torch.cumsum, 0, x, axis, exclusive, reverse)


def cumprod(x: Tensor, *, axis: int, exclusive: int, reverse: int) -> Tensor:
    """Products of all up to each place, without itself if `exclusive`, or from it to the end if `reverse`."""
    return _accumulated(torch.cumprod, 1, x, axis, exclusive, reverse)


def _accumulated(
    function: Callable[..., Tensor], neutral: int, x: Tensor, axis: int, exclusive: int, reverse: int
) -> Tensor:
    """What is excluded is never taken back out of a total, where it may be infinite, or large beside the rest."""
    x = x.flip(axis) if reverse else x
    if exclusive and x.shape[axis]:
        first = torch.full_like(x.narrow(axis, 0, 1), neutral)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], dim=axis)
    total = function(x, axis, dtype=x.dtype)
    return total.flip(axis) if reverse else total


def cumsum_along(x: Tensor, axis: Tensor, **literals: int) -> Tensor:
    """`cumsum` along an axis that is computed."""
    return cumsum(x, axis=int(axis), **literals)


def cumprod_along(x: Tensor, axis: Tensor, **literals: int) -> Tensor:
    return cumprod(x, axis=int(axis), **literals)


CUMULATIVE = {cumsum: "CumSum", cumsum_along: "CumSum", cumprod: "CumProd", cumprod_along: "CumProd"}


@operator("CumSum", "CumProd")
def build_cumulative(builder: Builder, node: OnnxNode) -> Value:
    literals = {name: node.attribute(name, 0) for name in ("exclusive", "reverse")}
    along = {"CumSum": (cumsum, cumsum_along), "CumProd": (cumprod, cumprod_along)}[node.op]
    if node.is_constant(1):
        return builder.call(along[0], node.input(0), axis=int(node.number(1) or 0), **literals)
    return builder.call(along[1], *node.inputs(), **literals)


@emits(*CUMULATIVE)
def emit_cumulative(out: Emission, call: Call) -> str:
    op, inputs = operator_of(call, CUMULATIVE), list(call.inputs)
    if op == "CumProd":
        out.require_opset(26)
    if "axis" in call.kwargs:
        inputs.append(out.initializer(f"{call.base}/axis", torch.tensor(call.kwargs["axis"]).numpy()))
    switches: dict[str, Any] = {name: 1 for name in ("exclusive", "reverse") if call.kwargs[name]}
    return out.node(op, inputs, name=call.base, **switches)
