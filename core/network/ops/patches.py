"""Col2Im, which adds up the patches of an image, and CenterCropPad."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


def col2im(
    x: Tensor, *, image: list[int], block: list[int], strides: list[int], dilations: list[int], pads: list[int]
) -> Tensor:
    """The images whose patches are in the columns, each place the sum of what the patches have there.

    Args:
        x: (N, C * product of `block`, patches); the patches in the order in which a convolution visits them.
        image: sizes of the result, without the padding.
        pads: before each axis, then behind.

    Returns:
        (N, C, *image).
    """
    rank, taps = len(image), math.prod(block)
    padded = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(image)]
    check_allocation([*x.shape[:2], *padded], x.element_size())
    numbers = torch.zeros(1, 1, dtype=torch.int64, device=x.device)  # (taps, patches) place of each among all
    for size, wide, step, gap in zip(padded, block, strides, dilations, strict=True):
        tap = torch.arange(wide, device=x.device) * gap
        start = torch.arange((size - (wide - 1) * gap - 1) // step + 1, device=x.device) * step
        numbers = numbers[:, None, :, None] * size + (tap[:, None] + start)[None, :, None, :]
        numbers = numbers.flatten(2).flatten(0, 1)
    values = x.reshape(len(x), x.shape[1] // taps, -1)
    sums = x.new_zeros(*values.shape[:2], math.prod(padded)).index_add(2, numbers.reshape(-1), values)
    crop = [slice(pads[axis], pads[axis] + size) for axis, size in enumerate(image)]
    return sums.reshape(*values.shape[:2], *padded)[:, :, *crop]


def col2im_to(x: Tensor, image: Tensor, **literals: Any) -> Tensor:
    """`col2im` to sizes that the shape plane computes."""
    return col2im(x, image=image.tolist(), **literals)


def center_crop_pad(x: Tensor, *, sizes: list[int], axes: list[int] | None) -> Tensor:
    """Cut down or padded with zeros to `sizes` along `axes`, or along all; alike on both sides, an odd one behind."""
    pads = [0] * 2 * x.dim()  # as torch has them, the last axis first
    for size, axis in zip(sizes, range(x.dim()) if axes is None else axes, strict=True):
        missing = size - x.shape[axis]
        before = int(missing / 2)
        place = 2 * (x.dim() - 1 - axis % x.dim())
        pads[place], pads[place + 1] = before, missing - before
    check_allocation(sizes, x.element_size())
    return F.pad(x, pads)


def center_crop_pad_to(x: Tensor, sizes: Tensor, *, axes: list[int] | None) -> Tensor:
    """`center_crop_pad` to sizes that the shape plane computes."""
    return center_crop_pad(x, sizes=sizes.tolist(), axes=axes)


@operator("Col2Im")
def build_col2im(builder: Builder, node: OnnxNode) -> Value:
    block = node.ints(2)
    if not block:
        raise Unsupported("Col2Im without axes")
    literals = {
        "block": block,
        "strides": node.attribute("strides", [1] * len(block)),
        "dilations": node.attribute("dilations", [1] * len(block)),
        "pads": node.attribute("pads", [0] * 2 * len(block)),
    }
    if len(block) != 2 and any(step != 1 for step in literals["dilations"]):
        raise Unsupported(f"Col2Im with dilations over {len(block)} axes, where onnxruntime leaves the standard")
    if node.is_constant(1):
        return builder.call(col2im, node.input(0), image=node.ints(1), **literals)
    return builder.call(col2im_to, node.input(0), node.input(1), **literals)


@operator("CenterCropPad")
def build_center_crop_pad(builder: Builder, node: OnnxNode) -> Value:
    axes = node.attribute("axes")
    if node.is_constant(1):
        return builder.call(center_crop_pad, node.input(0), sizes=node.ints(1), axes=axes)
    return builder.call(center_crop_pad_to, node.input(0), node.input(1), axes=axes)


@emits(col2im, col2im_to)
def emit_col2im(out: Emission, call: Call) -> str:
    out.require_opset(18)
    given = [out.ints(f"{call.base}/{name}", call.kwargs[name]) for name in ("image", "block") if name in call.kwargs]
    attributes: dict[str, Any] = {name: call.kwargs[name] for name in ("strides", "dilations", "pads")}
    return out.node("Col2Im", [*call.inputs, *given], name=call.base, **attributes)


@emits(center_crop_pad, center_crop_pad_to)
def emit_center_crop_pad(out: Emission, call: Call) -> str:
    out.require_opset(18)
    given = [out.ints(f"{call.base}/sizes", call.kwargs["sizes"])] if "sizes" in call.kwargs else []
    attributes: dict[str, Any] = {} if call.kwargs["axes"] is None else {"axes": call.kwargs["axes"]}
    return out.node("CenterCropPad", [*call.inputs, *given], name=call.base, **attributes)
