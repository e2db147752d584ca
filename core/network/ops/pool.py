"""Pools, local and global. Their windows are literals; padding that torch can't do is a pad node before them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import spread
from core.network.ops.windows import read_window, same_pads
from core.network.registry import Call, emits, operator, operator_of
from core.network.unsupported import Unsupported
from core.network.values import Value

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(
    x: Tensor,
    *,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    after: list[int],
    ceil: int,
) -> Tensor:
    """Padding, and what `ceil` adds to it, never wins."""
    if _is_plain(kernel, before, after, ceil):
        return MAX[len(kernel)](x, kernel, strides, before, dilations)
    x = _padded(x, _padding(x, kernel, strides, dilations, before, after, ceil))
    return MAX[len(kernel)](x, kernel, strides, 0, dilations)


def max_pool_with_places(
    x: Tensor,
    *,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    after: list[int],
    ceil: int,
    column_major: int,
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and of each maximum its number among all elements of `x`.

    Args:
        column_major: whether the places of a channel are numbered along their first axis first.
    """
    sizes = _padding(x, kernel, strides, dilations, before, after, ceil)
    padded = _padded(x, sizes)
    values, places = MAX[len(kernel)](padded, kernel, strides, 0, dilations, return_indices=True)
    steps = _steps(x.shape[2:], column_major)
    along = torch.unravel_index(places, padded.shape[2:])
    numbers = sum((at - front) * step for at, front, step in zip(along, before, steps, strict=True))
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * _product(x.shape[2:])
    return values, numbers + planes.reshape([*x.shape[:2], *[1] * len(kernel)])


def _padded(x: Tensor, sizes: list[int]) -> Tensor:
    """Padding that is never larger than what is there."""
    least = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
    return F.pad(x, sizes, value=least) if any(sizes) else x


def _steps(sizes: Sequence[int], column_major: int) -> list[int]:
    """How far apart neighbours along each axis are numbered."""
    if column_major:
        return [_product(sizes[:axis]) for axis in range(len(sizes))]
    return [_product(sizes[axis + 1 :]) for axis in range(len(sizes))]


def average_pool(
    x: Tensor,
    *,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    after: list[int],
    ceil: int,
    count_include_pad: int,
) -> Tensor:
    """Mean over each window; with `count_include_pad` over the declared padding too, never over what `ceil` adds."""
    if _is_plain(kernel, before, after, ceil) and all(step == 1 for step in dilations):
        return AVERAGE[len(kernel)](x, kernel, strides, before, False, bool(count_include_pad))
    sizes = _padding(x, kernel, strides, dilations, before, after, ceil)
    declared = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    total = _sums(F.pad(x, sizes), kernel, strides, dilations)
    ones = x.new_ones([1, 1, *x.shape[2:]])
    if count_include_pad:
        ones = F.pad(F.pad(ones, declared, value=1.0), [s - d for s, d in zip(sizes, declared, strict=True)])
    else:
        ones = F.pad(ones, sizes)
    return total / _sums(ones, kernel, strides, dilations).clamp(min=1.0)


def lp_pool(
    x: Tensor,
    *,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    after: list[int],
    ceil: int,
    p: int,
) -> Tensor:
    sizes = _padding(x, kernel, strides, dilations, before, after, ceil)
    return _root(_sums(F.pad(x.abs() ** p, sizes), kernel, strides, dilations), p)


def pool_same(x: Tensor, *, pool: str, auto: str, **literals: Any) -> Tensor:
    """A pool padded so that it gives ceil(size / stride) places, whatever the size."""
    before, after = same_pads(x.shape[2:], literals["kernel"], literals["strides"], auto)
    return POOLS[pool](x, before=before, after=after, **literals)


OPERATORS = {max_pool: "MaxPool", average_pool: "AveragePool", lp_pool: "LpPool"}
POOLS = {op: pool for pool, op in OPERATORS.items()}


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


def global_lp_pool(x: Tensor, *, p: int) -> Tensor:
    return _root((x.abs() ** p).sum(dim=tuple(range(2, x.dim())), keepdim=True), p)


def _root(total: Tensor, p: int) -> Tensor:
    """The `p`-th root; of zeros, where its slope is infinite, with the gradient 0."""
    return torch.where(total > 0, torch.where(total > 0, total, 1.0) ** (1.0 / p), total)


def _is_plain(kernel: list[int], before: list[int], after: list[int], ceil: int) -> bool:
    """Whether torch's own pools can pad: alike on both sides and by at most half the window."""
    return not ceil and before == after and all(2 * b <= k for b, k in zip(before, kernel, strict=True))


def _sums(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """Sum over each window."""
    rank = len(kernel)
    if all(step == 1 for step in dilations):
        return AVERAGE[rank](x, kernel, strides) * _product(kernel)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
    single = x.reshape(-1, 1, *x.shape[2:])
    summed = convolve(single, x.new_ones([1, 1, *kernel]), stride=strides, dilation=dilations)
    return summed.reshape(*x.shape[:2], *summed.shape[2:])


def _padding(
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    before: list[int],
    after: list[int],
    ceil: int,
) -> list[int]:
    """Sizes for F.pad, last axis first; `ceil` lengthens the end so that the last, partial window fits.

    A window that would start beyond the padded input is dropped, as ONNX and torch both do.
    """
    sizes: list[int] = []
    for axis in reversed(range(len(kernel))):
        end = after[axis]
        if ceil:
            length = x.shape[2 + axis] + before[axis] + end
            wide = (kernel[axis] - 1) * dilations[axis] + 1
            count = -(-(length - wide) // strides[axis]) + 1
            if (count - 1) * strides[axis] >= x.shape[2 + axis] + before[axis]:
                count -= 1
            end += max((count - 1) * strides[axis] + wide - length, 0)
        sizes += [before[axis], end]
    grown = [size + sum(sizes[-2 * axis - 2 :][:2]) for axis, size in enumerate(x.shape[2:])]
    check_allocation([*x.shape[:2], *grown], x.element_size())
    return sizes


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _call(builder: Builder, node: OnnxNode, function: Callable[..., Any], **more: int) -> Any:
    kernel = node.attribute("kernel_shape")
    if kernel is None or len(kernel) not in MAX:
        raise Unsupported(f"{node.op} over {kernel}")
    window = read_window(node, kernel, is_pool=True)
    literals: dict[str, Any] = {"kernel": kernel, "strides": window.strides, "dilations": window.dilations}
    literals |= {"ceil": node.attribute("ceil_mode", 0), **more}
    if window.pads is None and function not in OPERATORS:
        raise Unsupported(f"{node.op} with places, and auto_pad over axes of unknown size")
    if window.pads is None:
        return builder.call(pool_same, node.input(0), pool=node.op, auto=window.auto, **literals)
    before, after = window.pads
    return builder.call(function, node.input(0), **literals, before=before, after=after)


@operator("MaxPool")
def build_max_pool(builder: Builder, node: OnnxNode) -> Value | tuple[Value, ...]:
    if not node.extra_outputs():
        return _call(builder, node, max_pool)
    order = node.attribute("storage_order", 0)
    return spread(builder, _call(builder, node, max_pool_with_places, column_major=order), 2)


@operator("AveragePool")
def build_average_pool(builder: Builder, node: OnnxNode) -> Value:
    return _call(builder, node, average_pool, count_include_pad=node.attribute("count_include_pad", 0))


@operator("LpPool")
def build_lp_pool(builder: Builder, node: OnnxNode) -> Value:
    return _call(builder, node, lp_pool, p=node.attribute("p", 2))


@operator("GlobalAveragePool")
def build_global_average_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_average_pool, node.input(0))


@operator("GlobalMaxPool")
def build_global_max_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_max_pool, node.input(0))


@operator("GlobalLpPool")
def build_global_lp_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_lp_pool, node.input(0), p=node.attribute("p", 2))


@emits(*OPERATORS)
def emit_pool(out: Emission, call: Call) -> str:
    return out.node(operator_of(call, OPERATORS), call.inputs, name=call.base, **_attributes(call.kwargs))


@emits(max_pool_with_places)
def emit_max_pool_with_places(out: Emission, call: Call) -> tuple[str, ...]:
    out.require_opset(8)
    return out.node("MaxPool", call.inputs, outputs=2, name=call.base, **_attributes(call.kwargs))


@emits(pool_same)
def emit_pool_same(out: Emission, call: Call) -> str:
    return out.node(call.kwargs["pool"], call.inputs, name=call.base, **_attributes(call.kwargs))


def _attributes(literals: Mapping[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kernel_shape": literals["kernel"], "strides": literals["strides"]}
    if "auto" in literals:
        attributes["auto_pad"] = literals["auto"]
    else:
        attributes["pads"] = [*literals["before"], *literals["after"]]
    if any(step != 1 for step in literals["dilations"]):
        attributes["dilations"] = literals["dilations"]
    renamed = {"ceil": "ceil_mode", "column_major": "storage_order", "count_include_pad": "count_include_pad"}
    attributes |= {name: 1 for literal, name in renamed.items() if literals.get(literal)}
    return attributes | ({"p": literals["p"]} if "p" in literals else {})


@emits(global_average_pool, global_max_pool, global_lp_pool)
def emit_global(out: Emission, call: Call) -> str:
    ops = {global_average_pool: "GlobalAveragePool", global_max_pool: "GlobalMaxPool", global_lp_pool: "GlobalLpPool"}
    return out.node(operator_of(call, ops), call.inputs, name=call.base, **call.kwargs)
