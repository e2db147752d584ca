"""ReverseSequence, and TensorScatter, which writes the newest steps of sequences into a cache."""

from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.values import Value


def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int, time_axis: int) -> Tensor:
    """Each sequence's first `lengths` (batch,) steps from the last to the first, and the rest as it is."""
    moved = x.movedim((batch_axis, time_axis), (0, 1))
    step = torch.arange(moved.shape[1], device=x.device)
    length = lengths.to(x.device).reshape(-1, 1)
    places = torch.where(step < length, length - 1 - step, step)  # (batch, time)
    rows = torch.arange(len(moved), device=x.device).unsqueeze(1)
    return moved[rows, places].movedim((0, 1), (batch_axis, time_axis))


def tensor_scatter(cache: Tensor, new: Tensor, starts: Tensor | None = None, *, axis: int, mode: str) -> Tensor:
    """`cache` with the steps `new` along `axis` from `starts` (batch,) on, or from 0.

    Args:
        mode: circular ends where the cache does and goes on at its first step; linear may not reach beyond.
    """
    moved, steps = cache.movedim(axis, 1), new.movedim(axis, 1)
    first = torch.zeros(len(moved), dtype=torch.int64) if starts is None else starts
    places = first.to(cache.device).reshape(-1, 1) + torch.arange(steps.shape[1], device=cache.device)
    if mode == "circular":
        places = places % moved.shape[1]
    rows = torch.arange(len(moved), device=cache.device).unsqueeze(1)
    return moved.index_put((rows, places), steps).movedim(1, axis)


@operator("ReverseSequence")
def build_reverse_sequence(builder: Builder, node: OnnxNode) -> Value:
    axes = {"batch_axis": node.attribute("batch_axis", 1), "time_axis": node.attribute("time_axis", 0)}
    return builder.call(reverse_sequence, *node.inputs(), **axes)


@operator("TensorScatter")
def build_tensor_scatter(builder: Builder, node: OnnxNode) -> Value:
    literals = {"axis": node.attribute("axis", -2), "mode": node.attribute("mode", "linear")}
    return builder.call(tensor_scatter, *node.inputs(), **literals)


@emits(reverse_sequence)
def emit_reverse_sequence(out: Emission, call: Call) -> str:
    out.require_opset(10)
    return out.node("ReverseSequence", call.inputs, name=call.base, **call.kwargs)


@emits(tensor_scatter)
def emit_tensor_scatter(out: Emission, call: Call) -> str:
    out.require_opset(24)
    attributes: dict[str, Any] = call.kwargs
    return out.node("TensorScatter", call.inputs, name=call.base, **attributes)
