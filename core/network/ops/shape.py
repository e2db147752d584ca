"""Functions that move elements: reshapes, transposes, slices, joins. What they need is in literals.

The literals are what removing channels rewrites: `shape`, `sizes`, `starts`, `ends`, `indices`.
"""

import math

import torch
from torch import Tensor

from core.network.limits import check_allocation


def reshape(x: Tensor, *, shape: list[int], allowzero: int = 0) -> Tensor:
    """-1 is what is left over; 0 copies the size of the same axis unless `allowzero`."""
    sizes = shape if allowzero else [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    if 0 in sizes and -1 in sizes:
        sizes = [_left_over(x, sizes) if size == -1 else size for size in sizes]
    return x.reshape(sizes)


def _left_over(x: Tensor, sizes: list[int]) -> int:
    """What would be left over for -1 if the axes of size 0, where a detector has found nothing, had one element."""
    return math.prod(size for size in x.shape if size) // math.prod(size for size in sizes if size > 0)


def reshape_to(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """`reshape` to a shape that the shape plane computes."""
    return reshape(x, shape=shape.tolist(), allowzero=allowzero)


def flatten(x: Tensor, *, axis: int) -> Tensor:
    """To a matrix: the axes before `axis`, and those from it on."""
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


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
    check_allocation([sum(tensor.numel() for tensor in tensors)], tensors[0].element_size())
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), tensors[0].device)
    return torch.cat([tensor.to(device) for tensor in tensors], dim=axis)


def split(x: Tensor, *, axis: int, sizes: list[int]) -> tuple[Tensor, ...]:
    """Consecutive parts of the given sizes along an axis."""
    return torch.split(x, sizes, dim=axis)


def split_by(x: Tensor, sizes: Tensor, *, axis: int, count: int) -> tuple[Tensor, ...]:
    """`split` into `count` parts of sizes that the shape plane computes."""
    return split(x, axis=axis, sizes=sizes.tolist())


def split_evenly(x: Tensor, *, axis: int, count: int) -> tuple[Tensor, ...]:
    """`split` into `count` parts of one size, the last of which may be smaller."""
    return split(x, axis=axis, sizes=even_sizes(x.shape[axis], count))


def even_sizes(size: int, count: int) -> list[int]:
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


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


def slice_at(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    """`slice_` of which everything is computed."""
    along = list(range(len(starts))) if axes is None else axes.tolist()
    return slice_by(x, starts, ends, axes=along, steps=[1] * len(along) if steps is None else steps.tolist())


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
    return x.index_select(axis, torch.tensor(indices, dtype=torch.int64, device=x.device))


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
    if bool((limit < start) if delta > 0 else (limit > start)):
        return start.new_empty(0)
    check_allocation([abs(int((limit - start) / delta)) + 1])
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str) -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)
    return x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    b = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, c, h // b, b, w // b, b).permute(order).reshape(n, c * b**2, h // b, w // b)


def _clamped(position: int, size: int, lowest: int, highest: int) -> int:
    return min(max(position + size if position < 0 else position, lowest), highest)


def _positive(x: Tensor, axis: int, first: int, last: int, step: int) -> Tensor:
    part = x.narrow(axis, first, last - first)
    if step == 1:
        return part
    return part.index_select(axis, torch.arange(0, last - first, min(step, last - first), device=x.device))
