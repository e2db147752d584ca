"""Sliding windows of convolutions and pools: kernel, strides, dilations, and the padding that auto_pad means."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.network.onnx_node import OnnxNode
from core.network.unsupported import Unsupported

SAME = ("SAME_UPPER", "SAME_LOWER")

Sides = tuple[list[int], list[int]]
"""Sizes before and after each spatial axis."""


@dataclass(frozen=True)
class Window:
    """One number a spatial axis.

    Attributes:
        pads: None where it takes the sizes that come in to know them.
        auto: how those are then computed: one of SAME.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: Sides | None
    auto: str = ""


def read_window(node: OnnxNode, kernel: list[int], *, is_pool: bool = False) -> Window:
    """The window of `node`. For a pool auto_pad means in onnxruntime what it would without dilations."""
    rank = len(kernel)
    strides = node.attribute("strides", [1] * rank)
    dilations = node.attribute("dilations", [1] * rank)
    pads = node.attribute("pads", [0] * 2 * rank)
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in SAME:
        wide = [reach(k, dilation) for k, dilation in zip(kernel, dilations, strict=True)]
        padded = kernel if is_pool else wide
        _check_covers(node, padded, strides, most=int(padded == wide) if is_pool else 2)
        return Window(kernel, strides, dilations, _same(node, padded, strides, auto), auto)
    if auto == "VALID":
        return Window(kernel, strides, dilations, ([0] * rank, [0] * rank))
    if any(size < 0 for size in pads):
        raise Unsupported(f"{node.op} with negative pads")
    return Window(kernel, strides, dilations, (pads[:rank], pads[rank:]))


def same_pads(sizes: Sequence[int], wide: Sequence[int], strides: Sequence[int], auto: str) -> Sides:
    """Padding that makes the output ceil(size / stride) long; the odd one goes behind if SAME_UPPER.

    Args:
        wide: how many places the window covers along each axis.
    """
    totals = [
        max((-(-size // stride) - 1) * stride + places - size, 0)
        for size, places, stride in zip(sizes, wide, strides, strict=True)
    ]
    return halves(totals, auto)


def reach(kernel: int, dilation: int) -> int:
    """How many places a window covers."""
    return (kernel - 1) * dilation + 1


def halves(totals: Sequence[int], auto: str) -> Sides:
    """What goes before and after; of an odd number the larger part goes behind if SAME_UPPER."""
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _check_covers(node: OnnxNode, wide: list[int], strides: list[int], most: int) -> None:
    """onnxruntime pads by less than nothing where windows leave gaps.

    Raises:
        Unsupported: it may be by more than `most`, so that other places are read, or fewer come out.
    """
    shape = node.shape(0)
    sizes = shape[2:] if shape is not None else [None] * len(wide)
    for size, places, stride in zip(sizes, wide, strides, strict=True):
        beyond = (size - 1) % stride + 1 if isinstance(size, int) and size else stride
        if beyond - places > most:
            raise Unsupported(f"{node.op} with auto_pad and windows that leave gaps")


def _same(node: OnnxNode, wide: list[int], strides: list[int], auto: str) -> Sides | None:
    """None where a size that matters is not known without running; without a stride it doesn't matter."""
    shape = node.shape(0)
    sizes = shape[2:] if shape is not None else [None] * len(wide)
    known = [1 if stride == 1 else size for size, stride in zip(sizes, strides, strict=True)]
    numbers = [size for size in known if isinstance(size, int)]
    return None if len(numbers) < len(known) else same_pads(numbers, wide, strides, auto)


@dataclass(frozen=True)
class Crop:
    """What a transposed convolution leaves out of what its windows fill.

    Attributes:
        pads: None where it takes the sizes that come in to know them.
        extra: places behind what the windows fill, where there is the bias alone.
        uncounted: how many of these don't count when `pads` are computed.
        wanted: the sizes that are left, where `pads` is None.
        auto: where the odd place goes.
    """

    pads: Sides | None
    extra: list[int]
    uncounted: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    auto: str = ""


def read_crop(node: OnnxNode, kernel: list[int], strides: list[int], dilations: list[int]) -> Crop:
    """By `pads`, or down to `output_shape`, or by auto_pad.

    Raises:
        Unsupported: the output would be longer than the windows fill by a stride or more.
    """
    rank = len(kernel)
    auto = node.attribute("auto_pad", "NOTSET")
    extra = node.attribute("output_padding", [0] * rank)
    if not node.has("output_shape") and auto not in SAME:
        pads = [0] * 2 * rank if auto == "VALID" else node.attribute("pads", [0] * 2 * rank)
        return Crop((pads[:rank], pads[rank:]), extra)
    overlaps = [
        reach(k, dilation) - stride + more
        for k, dilation, stride, more in zip(kernel, dilations, strides, extra, strict=True)
    ]
    if not node.has("output_shape"):
        if min(overlaps) < 0:
            raise Unsupported(f"{node.op} to more than it fills")
        return Crop(halves(overlaps, auto), extra)
    wanted = node.attribute("output_shape")[-rank:]
    most = [stride - 1 for stride in strides]
    sizes = [size for size in (node.shape(0) or [])[2:] if isinstance(size, int)]
    if len(sizes) < rank:
        return Crop(None, most, [limit - more for limit, more in zip(most, extra, strict=True)], wanted, auto)
    totals = [
        size * stride + overlap - goal
        for size, stride, overlap, goal in zip(sizes, strides, overlaps, wanted, strict=True)
    ]
    lacking = [max(-total, 0) for total in totals]
    behind = [more + lack for more, lack in zip(extra, lacking, strict=True)]
    if any(lack and more > limit for lack, more, limit in zip(lacking, behind, most, strict=True)):
        raise Unsupported(f"{node.op} to more than it fills")
    return Crop(halves([max(total, 0) for total in totals], auto), behind)


def spatial_pads(before: list[int], after: list[int]) -> list[int]:
    """ONNX pads of all axes from those of the spatial ones."""
    return [0, 0, *before, 0, 0, *after]
