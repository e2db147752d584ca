"""Pad: by literal sizes, which removing channels rewrites, or by sizes that are computed."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import optional_inputs, stripped
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value

MODES = ("constant", "reflect", "edge", "wrap")


def pad(x: Tensor, *, pads: list[int], mode: str, value: float) -> Tensor:
    """ONNX's Pad: sizes before every axis, then after; negative ones crop."""
    rank = x.dim()
    pairs = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    check_allocation([size + b + a for size, (b, a) in zip(x.shape, pairs, strict=True)], x.element_size())
    if mode == "constant":
        return F.pad(x, [size for pair in reversed(pairs) for size in pair], value=value)
    for axis, (before, after) in enumerate(pairs):
        x = _pad_axis(x, axis, before, after, mode)
    return x


def pad_by(x: Tensor, pads: Tensor, value: Tensor | None, axes: Tensor | None, *, mode: str) -> Tensor:
    """`pad` by sizes that are computed, with a `value` (), along `axes` or all of them."""
    along = list(range(x.dim())) if axes is None else axes.tolist()
    sizes = spread_over(x.dim(), along, pads.tolist())
    padded = pad(x, pads=sizes, mode=mode, value=0)
    if value is None:
        return padded
    is_kept = pad(torch.ones_like(x, dtype=torch.bool), pads=sizes, mode=mode, value=False)
    return torch.where(is_kept, padded, value.to(x.device).reshape(()))


def spread_over(rank: int, axes: list[int], pads: list[int]) -> list[int]:
    """Sizes before and after every axis, from those of some axes."""
    full = [0] * 2 * rank
    for place, axis in enumerate(axes):
        full[axis % rank], full[axis % rank + rank] = pads[place], pads[place + len(axes)]
    return full


def _pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """One axis by index, as torch pads only the last three in these modes; what is cropped is gone before."""
    if not before and not after:
        return x
    if before < 0 or after < 0:
        x = x.narrow(axis, max(-before, 0), max(x.shape[axis] + min(before, 0) + min(after, 0), 0))
        before, after = max(before, 0), max(after, 0)
    size = x.shape[axis]
    positions = torch.arange(-before, size + after, device=x.device)
    if mode == "edge":
        positions = positions.clamp(0, size - 1)
    elif mode == "wrap":
        positions = positions % size
    elif size > 1:
        positions = positions.abs() % (2 * size - 2)
        positions = torch.where(positions >= size, 2 * size - 2 - positions, positions)
    else:
        positions = torch.zeros_like(positions)
    return x.index_select(axis, positions)


@operator("Pad")
def build_pad(builder: Builder, node: OnnxNode) -> Value:
    mode = node.attribute("mode", "constant")
    if mode not in MODES:
        raise Unsupported(f"Pad in mode {mode}")
    if node.opset < 11:
        literals = {"pads": node.attribute("pads"), "value": node.attribute("value", 0.0)}
        return builder.call(pad, node.input(0), mode=mode, **literals)
    if any(node.given(place) and not node.is_constant(place) for place in (1, 2, 3)):
        return _computed(builder, node, mode)
    value = node.number(2, 0.0)
    if value and not isinstance(value, float):
        return _computed(builder, node, mode)
    pads, axes = node.ints(1) or [], node.ints(3)
    return builder.call(
        pad, node.input(0), pads=pads if axes is None else _all_axes(node, pads, axes), mode=mode, value=value
    )


def _computed(builder: Builder, node: OnnxNode, mode: str) -> Value:
    """With what is constant as a tensor, an integer value in its own type."""
    x, pads, value, axes = [*optional_inputs(node, 4), None, None][:4]
    is_nothing = isinstance(value, Constant) and not value.tensor.any()
    return builder.call(pad_by, x, pads, None if is_nothing else value, axes, mode=mode)


def _all_axes(node: OnnxNode, pads: list[int], axes: list[int]) -> list[int]:
    rank = node.rank(0)
    if rank is None:
        raise Unsupported("Pad along some axes of a tensor of unknown rank")
    return spread_over(rank, axes, pads)


@emits(pad)
def emit_pad(out: Emission, call: Call) -> str:
    pads, mode, value = (call.kwargs[name] for name in ("pads", "mode", "value"))
    if out.opset < 11:
        return out.node("Pad", call.inputs, name=call.base, pads=pads, mode=mode, value=float(value))
    inputs = [*call.inputs, out.ints(f"{call.base}/pads", pads)]
    if mode == "constant" and value:
        inputs.append(out.scalar(f"{call.base}/value", value))
    return _written(out, call, inputs)


@emits(pad_by)
def emit_pad_by(out: Emission, call: Call) -> str:
    return _written(out, call, stripped(call.inputs))


def _written(out: Emission, call: Call, inputs: list[str]) -> str:
    mode: Any = call.kwargs["mode"]
    if mode == "wrap":
        out.require_opset(19)
    return out.node("Pad", inputs, name=call.base, mode=mode)
