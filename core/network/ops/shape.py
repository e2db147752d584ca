"""Functions that move elements: reshapes, transposes, slices, joins, pads. What they need is in literals.

The literals are what removing channels rewrites: `shape`, `sizes`, `starts`, `ends`, `pads`, `indices`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.limits import check_allocation

TORCH_PAD_MODE = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def reshape(x: Tensor, *, shape: list[int], allowzero: int = 0) -> Tensor:
    """-1 is what is left over; 0 copies the size of the same axis unless `allowzero`."""
    sizes = shape if allowzero else [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(sizes)


def reshape_to(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """`reshape` to a shape that the shape plane computes."""
    return reshape(x, shape=shape.tolist(), allowzero=allowzero)


def flatten(x: Tensor, *, axis: int) -> Tensor:
    """To a matrix: the axes before `axis`, and those from it on."""
    axis = axis + x.dim() if axis < 0 else axis
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1) if x.numel() else x.reshape(rows, x.numel() // max(rows, 1))


def transpose(x: Tensor, *, perm: list[int]) -> Tensor:
    return x.permute(perm)


def squeeze(x: Tensor, *, axes: list[int] | None) -> Tensor:
    """Without the given axes of size 1; None for all of them."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(x: Tensor, *, axes: list[int]) -> Tensor:
    """With axes of size 1 at the given places of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def expand(x: Tensor, *, shape: list[int]) -> Tensor:
    """Broadcast against `shape`; both may be the longer one."""
    result = torch.broadcast_shapes(x.shape, tuple(shape))
    check_allocation(result, x.element_size())
    return x.expand(result)


def expand_to(x: Tensor, shape: Tensor) -> Tensor:
    return expand(x, shape=shape.tolist())


def tile(x: Tensor, *, repeats: list[int]) -> Tensor:
    check_allocation([size * times for size, times in zip(x.shape, repeats, strict=True)], x.element_size())
    return x.repeat(repeats)


def tile_by(x: Tensor, repeats: Tensor) -> Tensor:
    return tile(x, repeats=repeats.tolist())


def concat(*tensors: Tensor, axis: int) -> Tensor:
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), tensors[0].device)
    return torch.cat([tensor.to(device) for tensor in tensors], dim=axis)


def split(x: Tensor, *, axis: int, sizes: list[int]) -> tuple[Tensor, ...]:
    """Consecutive parts of the given sizes along an axis."""
    return torch.split(x, sizes, dim=axis)


def slice_(x: Tensor, *, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    """ONNX's Slice: negative positions count from the end, those beyond an end are clamped, steps may be negative."""
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        if step > 0:
            first, last = _clamped(start, size, 0, size), _clamped(end, size, 0, size)
            x = x.narrow(axis, 0, 0) if last <= first else _positive(x, axis, first, last, step)
        else:
            first, last = _clamped(start, size, 0, size - 1), _clamped(end, size, -1, size - 1)
            positions = torch.arange(first, last, step, device=x.device) if first > last else torch.arange(0)
            x = x.index_select(axis, positions.to(x.device))
    return x


def slice_by(x: Tensor, starts: Tensor, ends: Tensor, *, axes: list[int], steps: list[int]) -> Tensor:
    """`slice_` to positions that the shape plane computes."""
    return slice_(x, starts=starts.reshape(-1).tolist(), ends=ends.reshape(-1).tolist(), axes=axes, steps=steps)


def gather(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    """The elements at `indices` along an axis, whose place the axes of `indices` take."""
    axis = axis + x.dim() if axis < 0 else axis
    size = x.shape[axis]
    flat = indices.reshape(-1).to(x.device, torch.int64)
    flat = torch.where(flat < 0, flat + size, flat)
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    return x.index_select(axis, flat).reshape(shape)


def take(x: Tensor, *, indices: list[int], axis: int) -> Tensor:
    """`gather` at a literal list of positions: one axis in, one axis out."""
    return x.index_select(axis, torch.tensor(indices, device=x.device))


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


def cast(x: Tensor, *, to: torch.dtype, stored: int) -> Tensor:
    """To the compute type `to`; `stored` is the ONNX type that the source asked for."""
    return x.to(to)


def shape_of(x: Tensor, *, start: int, end: int | None) -> Tensor:
    """Sizes of the axes from `start` up to `end`: int64 on the CPU, the root of the shape plane."""
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


def size_of(x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


def constant_of_shape(shape: Tensor, *, value: float | int | bool, to: torch.dtype) -> Tensor:
    sizes = shape.tolist()
    check_allocation(sizes)
    return torch.full(sizes, value, dtype=to)


def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    if not bool(delta):
        raise ValueError("Range with a delta of 0")
    check_allocation([abs(int((limit - start) / delta)) + 1])
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str) -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)
    return x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def _clamped(position: int, size: int, lowest: int, highest: int) -> int:
    return min(max(position + size if position < 0 else position, lowest), highest)


def _positive(x: Tensor, axis: int, first: int, last: int, step: int) -> Tensor:
    part = x.narrow(axis, first, last - first)
    if step == 1:
        return part
    return part.index_select(axis, torch.arange(0, last - first, min(step, last - first), device=x.device))
