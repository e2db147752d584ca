"""Functions that pick elements out and put them in at positions that are computed, and masks made of positions."""

from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import together
from core.network.ops.operands import spread
from core.network.registry import Call, emits, operator, operator_of
from core.network.unsupported import Unsupported
from core.network.values import Value

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def top_k(x: Tensor, k: Tensor, *, axis: int, largest: int) -> tuple[Tensor, Tensor]:
    """The `k` (1,) largest, or smallest, in order, and their positions; of equal ones the first comes first."""
    values, positions = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    count = int(k)
    return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)


def gather_elements(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    """One element of `x` for each of `indices`, at its own place but along `axis`."""
    return x.gather(axis, _positive(indices, x, axis))


def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int, reduction: str) -> Tensor:
    """`x` with `updates` at `indices`, the inverse of `gather_elements`; `reduction` is none, add, mul, max or min."""
    x, updates = together(x, updates)
    places = _positive(indices, x, axis)
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, REDUCTIONS[reduction])


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int) -> Tensor:
    """The parts of `x` at the positions that the last axis of `indices` spells out."""
    return x[_places(x, indices, batch_dims)]


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str) -> Tensor:
    """`x` with `updates` in place of the parts that `gather_nd` finds, or joined to them by add, mul, max or min."""
    x, updates = together(x, updates)
    places = _places(x, indices, 0)
    if reduction == "none":
        return x.index_put(places, updates)
    numbers = torch.zeros_like(places[0])
    for place, size in zip(places, x.shape, strict=False):
        numbers = numbers * size + torch.where(place < 0, place + size, place)
    parts = x.flatten(0, len(places) - 1)
    new = updates.reshape(numbers.numel(), *parts.shape[1:])
    rows = numbers.reshape(-1, *[1] * (parts.dim() - 1)).expand(new.shape)
    return parts.scatter_reduce(0, rows, new, REDUCTIONS[reduction]).reshape(x.shape)


def trilu(x: Tensor, k: Tensor | None = None, *, upper: int) -> Tensor:
    """The upper or lower triangle of the last two axes, from the `k`-th diagonal on; zeros elsewhere."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


def one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int) -> Tensor:
    """`values` is (off, on); indices from -depth to depth - 1 are on, others nowhere."""
    size = int(depth)
    check_allocation([*indices.shape, size])
    places = torch.arange(size, device=indices.device)
    where = axis if axis >= 0 else axis + indices.dim() + 1
    shape = [1] * (indices.dim() + 1)
    shape[where] = size
    whole = indices.to(torch.int64).unsqueeze(where)
    hits = torch.where(whole < 0, whole + size, whole) == places.reshape(shape)
    off, on = values.to(indices.device)
    return torch.where(hits, on, off)


def _positive(indices: Tensor, x: Tensor, axis: int) -> Tensor:
    indices = indices.to(x.device, torch.int64)
    return torch.where(indices < 0, indices + x.shape[axis], indices)


def _places(x: Tensor, indices: Tensor, batch_dims: int) -> tuple[Tensor, ...]:
    """An index for each of the axes that `indices` reaches, those of the batch before them."""
    indices = indices.to(x.device, torch.int64)
    places = [
        torch.arange(x.shape[axis], device=x.device).reshape([-1 if k == axis else 1 for k in range(indices.dim() - 1)])
        for axis in range(batch_dims)
    ]
    return *places, *indices.unbind(-1)


@operator("TopK")
def build_top_k(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    if node.opset < 10:
        raise Unsupported("TopK before opset 10")
    literals = {"axis": node.attribute("axis", -1), "largest": node.attribute("largest", 1)}
    return spread(builder, builder.call(top_k, node.input(0), node.input(1), **literals), 2)


@emits(top_k)
def emit_top_k(out: Emission, call: Call) -> tuple[str, ...]:
    attributes: dict[str, Any] = {"axis": call.kwargs["axis"]} | ({} if call.kwargs["largest"] else {"largest": 0})
    return out.node("TopK", call.inputs, outputs=2, name=call.base, **attributes)


@operator("GatherElements")
def build_gather_elements(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(gather_elements, *node.inputs(), axis=node.attribute("axis", 0))


@operator("ScatterElements", "Scatter")
def build_scatter_elements(builder: Builder, node: OnnxNode) -> Value:
    literals = {"axis": node.attribute("axis", 0), "reduction": node.attribute("reduction", "none")}
    return builder.call(scatter_elements, *node.inputs(), **literals)


@emits(scatter_elements)
def emit_scatter_elements(out: Emission, call: Call) -> str:
    attributes: dict[str, Any] = {name: value for name, value in call.kwargs.items() if value != "none"}
    return out.node("Scatter" if out.opset < 11 else "ScatterElements", call.inputs, name=call.base, **attributes)


@operator("GatherND")
def build_gather_nd(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(gather_nd, *node.inputs(), batch_dims=node.attribute("batch_dims", 0))


@operator("ScatterND")
def build_scatter_nd(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(scatter_nd, *node.inputs(), reduction=node.attribute("reduction", "none"))


@operator("Trilu")
def build_trilu(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(trilu, *node.inputs(), upper=node.attribute("upper", 1))


@operator("OneHot")
def build_one_hot(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(one_hot, *node.inputs(), axis=node.attribute("axis", -1))


OPERATORS = {
    gather_elements: "GatherElements",
    gather_nd: "GatherND",
    scatter_nd: "ScatterND",
    trilu: "Trilu",
    one_hot: "OneHot",
}


USUAL = {"batch_dims": 0, "reduction": "none"}


@emits(*OPERATORS)
def emit_picking(out: Emission, call: Call) -> str:
    attributes = {name: value for name, value in call.kwargs.items() if value != USUAL.get(name)}
    return out.node(operator_of(call, OPERATORS), call.inputs, name=call.base, **attributes)
