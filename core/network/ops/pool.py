"""Pools, local and global. Their windows are literals; padding that torch can't do is a pad node before them."""

import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.windows import read_window
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
    sizes = _padding(x, kernel, strides, dilations, before, after, ceil)
    x = F.pad(x, sizes, value=float("-inf")) if any(sizes) else x
    return MAX[len(kernel)](x, kernel, strides, 0, dilations)


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
    return _sums(F.pad(x.abs() ** p, sizes), kernel, strides, dilations) ** (1.0 / p)


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.dim())), keepdim=True)


def global_lp_pool(x: Tensor, *, p: int) -> Tensor:
    return (x.abs() ** p).sum(dim=tuple(range(2, x.dim())), keepdim=True) ** (1.0 / p)


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
    return sizes


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _literals(node: OnnxNode) -> dict[str, list[int] | int]:
    kernel = node.attribute("kernel_shape")
    if kernel is None or len(kernel) not in MAX:
        raise Unsupported(f"{node.op} over {kernel}")
    window = read_window(node, kernel)
    return {
        "kernel": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "before": window.pads[0],
        "after": window.pads[1],
        "ceil": node.attribute("ceil_mode", 0),
    }


@operator("MaxPool")
def build_max_pool(builder: Builder, node: OnnxNode) -> Value:
    if node.extra_outputs() or node.attribute("storage_order", 0):
        raise Unsupported("MaxPool with indices")
    return builder.call(max_pool, node.input(0), **_literals(node))


@operator("AveragePool")
def build_average_pool(builder: Builder, node: OnnxNode) -> Value:
    include = node.attribute("count_include_pad", 0)
    return builder.call(average_pool, node.input(0), **_literals(node), count_include_pad=include)


@operator("LpPool")
def build_lp_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(lp_pool, node.input(0), **_literals(node), p=node.attribute("p", 2))


@operator("GlobalAveragePool")
def build_global_average_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_average_pool, node.input(0))


@operator("GlobalMaxPool")
def build_global_max_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_max_pool, node.input(0))


@operator("GlobalLpPool")
def build_global_lp_pool(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(global_lp_pool, node.input(0), p=node.attribute("p", 2))


@emits(max_pool, average_pool, lp_pool)
def emit_pool(out: Emission, call: Call) -> str:
    literals = call.kwargs
    attributes = {
        "kernel_shape": literals["kernel"],
        "strides": literals["strides"],
        "pads": [*literals["before"], *literals["after"]],
    }
    if literals["ceil"]:
        attributes["ceil_mode"] = 1
    if any(step != 1 for step in literals["dilations"]):
        attributes["dilations"] = literals["dilations"]
    if literals.get("count_include_pad"):
        attributes["count_include_pad"] = 1
    if "p" in literals:
        attributes["p"] = literals["p"]
    ops = {max_pool: "MaxPool", average_pool: "AveragePool", lp_pool: "LpPool"}
    return out.node(operator_of(call, ops), call.inputs, name=call.base, **attributes)


@emits(global_average_pool, global_max_pool, global_lp_pool)
def emit_global(out: Emission, call: Call) -> str:
    ops = {global_average_pool: "GlobalAveragePool", global_max_pool: "GlobalMaxPool", global_lp_pool: "GlobalLpPool"}
    return out.node(operator_of(call, ops), call.inputs, name=call.base, **call.kwargs)
