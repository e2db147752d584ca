"""Sliding windows of convolutions and pools: kernel, strides, dilations, and the padding that auto_pad means."""

from dataclasses import dataclass

from core.network.onnx_node import OnnxNode
from core.network.unsupported import Unsupported


@dataclass(frozen=True)
class Window:
    """One number a spatial axis; `pads` are those before and those after."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: tuple[list[int], list[int]]


def read_window(node: OnnxNode, kernel: list[int]) -> Window:
    """The window of `node`.

    Raises:
        Unsupported: auto_pad with a stride over an axis of unknown size.
    """
    rank = len(kernel)
    strides = node.attribute("strides", [1] * rank)
    dilations = node.attribute("dilations", [1] * rank)
    pads = node.attribute("pads", [0] * 2 * rank)
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return Window(kernel, strides, dilations, _same(node, kernel, strides, dilations, auto == "SAME_UPPER"))
    if auto == "VALID":
        return Window(kernel, strides, dilations, ([0] * rank, [0] * rank))
    if any(size < 0 for size in pads):
        raise Unsupported(f"{node.op} with negative pads")
    return Window(kernel, strides, dilations, (pads[:rank], pads[rank:]))


def transposed_pads(node: OnnxNode, kernel: list[int]) -> tuple[list[int], list[int]]:
    """What a transposed convolution crops before and after: by `pads`, or down to `output_shape`, or by auto_pad.

    Raises:
        Unsupported: the output would be longer than the convolution makes it, or of an unknown length.
    """
    rank = len(kernel)
    auto = node.attribute("auto_pad", "NOTSET")
    wanted = node.attribute("output_shape")
    if wanted is None and auto == "VALID":
        return [0] * rank, [0] * rank
    if wanted is None and auto == "NOTSET":
        pads = node.attribute("pads", [0] * 2 * rank)
        return pads[:rank], pads[rank:]
    strides, dilations, extra = (node.attribute(name, None) for name in ("strides", "dilations", "output_padding"))
    shape = node.shape(0)
    before, after = [], []
    for axis in range(rank):
        stride = strides[axis] if strides else 1
        reach = (kernel[axis] - 1) * (dilations[axis] if dilations else 1) + 1
        total = reach - stride + (extra[axis] if extra else 0)
        if wanted is not None:
            size = shape[2 + axis] if shape is not None else None
            if not isinstance(size, int):
                raise Unsupported(f"{node.op} with output_shape over an axis of unknown size")
            total += size * stride - wanted[-rank:][axis]
        if total < 0:
            raise Unsupported(f"{node.op} to more than it fills")
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before, after


def spatial_pads(before: list[int], after: list[int]) -> list[int]:
    """ONNX pads of all axes from those of the spatial ones."""
    return [0, 0, *before, 0, 0, *after]


def _same(
    node: OnnxNode, kernel: list[int], strides: list[int], dilations: list[int], upper: bool
) -> tuple[list[int], list[int]]:
    """Padding that makes the output ceil(input / stride) long; the odd one goes behind if `upper`."""
    shape = node.shape(0)
    sizes = shape[2:] if shape is not None else [None] * len(kernel)
    before, after = [], []
    for size, reach, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        wide = (reach - 1) * dilation + 1
        if stride == 1:
            total = wide - 1
        elif isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + wide - size, 0)
        else:
            raise Unsupported(f"{node.op} with auto_pad and a stride over an axis of unknown size")
        small, large = total // 2, total - total // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return before, after
