"""What picks elements by their values, so that how many come out depends on the data."""

from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import MAX_OPERANDS
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import read_outputs, spread
from core.network.ops.shape import reshape, take
from core.network.registry import Call, emits, operator
from core.network.values import Value


def nonzero(x: Tensor) -> Tensor:
    """(axes, found) positions of what is not 0, row by row; a scalar has one axis."""
    return torch.atleast_1d(x).nonzero().T


def compress(x: Tensor, condition: Tensor, *, axis: int | None) -> Tensor:
    """The places along an axis where `condition`, which may end early, holds; None stands for all axes as one."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    return x.index_select(axis, kept_places(condition, x.shape[axis]).to(x.device))


def kept_places(condition: Tensor, size: int | None = None) -> Tensor:
    return condition.reshape(-1)[:size].nonzero().reshape(-1)


@operator("NonZero")
def build_nonzero(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(nonzero, node.input(0))


@operator("Compress")
def build_compress(builder: Builder, node: OnnxNode) -> Value:
    """By a constant condition it takes the same places every time."""
    axis = node.attribute("axis")
    if node.is_constant(0) or not node.is_constant(1) or node.tensor(1).numel() > MAX_OPERANDS:
        return builder.call(compress, node.input(0), node.input(1), axis=axis)
    x = node.input(0) if axis is not None else builder.call(reshape, node.input(0), shape=[-1])
    return builder.call(take, x, indices=kept_places(node.tensor(1)).tolist(), axis=axis or 0)


@emits(nonzero)
def emit_nonzero(out: Emission, call: Call) -> str:
    out.require_opset(9)
    return out.node("NonZero", call.inputs, name=call.base)


@emits(compress)
def emit_compress(out: Emission, call: Call) -> str:
    out.require_opset(9)
    attributes: dict[str, Any] = {} if call.kwargs["axis"] is None else {"axis": call.kwargs["axis"]}
    return out.node("Compress", call.inputs, name=call.base, **attributes)


def unique(x: Tensor, *, axis: int | None, is_sorted: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each value that there is once; along an axis each slice, None standing for all axes as one.

    Args:
        is_sorted: whether they rise; else they come in the order in which they are first met.

    Returns:
        The values, where each is first met, which one each of the given is, and how often each is met.
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    _, kinds, counts = torch.unique(x.detach(), return_inverse=True, return_counts=True, dim=axis)
    met = torch.arange(len(kinds), device=x.device)
    first = torch.full_like(counts, len(kinds)).scatter_reduce(0, kinds, met, "amin")
    if not is_sorted:
        order = first.argsort()
        kinds = order.argsort()[kinds]
        first, counts = first[order], counts[order]
    return x.index_select(axis, first), first, kinds, counts


@operator("Unique")
def build_unique(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    literals = {"axis": node.attribute("axis"), "is_sorted": node.attribute("sorted", 1)}
    return spread(builder, builder.call(unique, node.input(0), **literals), 4)


@emits(unique)
def emit_unique(out: Emission, call: Call) -> tuple[str, ...]:
    out.require_opset(11)
    attributes: dict[str, Any] = {"sorted": call.kwargs["is_sorted"]}
    if call.kwargs["axis"] is not None:
        attributes["axis"] = call.kwargs["axis"]
    return read_outputs(out, call, "Unique", 4, **attributes)
