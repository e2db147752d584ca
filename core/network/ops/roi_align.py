"""RoiAlign: windows of an image, each averaged down to the same size.

He, Gkioxari, Dollár and Girshick 2017, "Mask R-CNN", arXiv:1703.06870, section 3.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.bilinear import neighbours, rows_of, weighted_sums
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


def roi_align(
    x: Tensor,
    windows: Tensor,
    images: Tensor,
    *,
    mode: str,
    height: int,
    width: int,
    samples: int,
    scale: float,
    half_pixel: int,
) -> Tensor:
    """
    Args:
        x: (N, C, H, W).
        windows: (R, 4) of x1, y1, x2, y2, in units of 1 / `scale` pixels.
        images: (R,) which image each window is of.
        samples: an axis and bin; 0 for as many as the bin is pixels wide.
        half_pixel: whether the middle of the first pixel is at 0.5; else it is at 0, and windows are one pixel wide
            at least.

    Returns:
        (R, C, height, width) averages over the samples of each bin. In mode max the largest of all the weighted pixels
        that go into a bin's samples, as onnxruntime has it.
    """
    corners = windows.to(x.device) * scale - (0.5 if half_pixel else 0.0)
    left, top, right, bottom = corners.unbind(-1)
    down, across = bottom - top, right - left
    if not half_pixel:
        down, across = down.clamp(min=1.0), across.clamp(min=1.0)
    rows = _samples(top, down, height, samples, x.shape[2])
    columns = _samples(left, across, width, samples, x.shape[3])
    check_allocation([len(corners), height, width, rows.places.shape[2], columns.places.shape[2]], 8)
    images = images.to(x.device, torch.int64).reshape(-1, 1, 1, 1, 1)
    pixels = (images * x.shape[2] + _down(rows.places)) * x.shape[3] + _across(columns.places)
    shares = _down(rows.shares) * _across(columns.shares)  # (R, height, width, samples down, samples across)
    if mode == "max":
        is_read = _down(rows.is_read) & _across(columns.is_read)
        return _largest(rows_of(x), pixels.flatten(3), shares.flatten(3), is_read.expand(pixels.shape).flatten(3))
    shares = shares / (rows.counts * columns.counts).clamp(min=1).reshape(-1, 1, 1, 1, 1)
    return weighted_sums(rows_of(x), pixels.flatten(3), shares.flatten(3)).permute(0, 3, 1, 2)


class _Samples(NamedTuple):
    """Where windows are read along one axis; every sample reads two pixels.

    Attributes:
        places, shares: (R, bins, samples) pixels, and how far each counts.
        is_read: (R, bins, samples); a window of fewer samples than another has some that it does not read.
        counts: (R,) samples of each window's bins.
    """

    places: Tensor
    shares: Tensor
    is_read: Tensor
    counts: Tensor


def _samples(start: Tensor, length: Tensor, bins: int, count: int, size: int) -> _Samples:
    """In the middles of equal parts of each bin. What is more than a pixel outside of the image is 0."""
    step = length / bins
    counts = torch.full_like(step, count) if count > 0 else step.detach().ceil().nan_to_num(0.0).clamp(min=0)
    most = max(int(counts.max()), 1) if len(counts) else 1
    check_allocation([len(counts), bins, most, 2], 8)
    part = torch.arange(most, device=start.device)
    within = (part + 0.5) * step[:, None] / counts[:, None].clamp(min=1)
    at = (start[:, None] + torch.arange(bins, device=start.device) * step[:, None])[:, :, None] + within[:, None, :]
    is_read = (part < counts[:, None])[:, None, :].expand(at.shape)
    places, shares = neighbours(at.clamp(0, size - 1), size)
    is_inside = is_read & (at >= -1) & (at <= size)
    shares = torch.where(is_inside[..., None], shares, 0.0)
    return _Samples(places.flatten(2), shares.flatten(2), is_read.repeat_interleave(2, dim=2), counts)


def _largest(table: Tensor, pixels: Tensor, shares: Tensor, is_read: Tensor) -> Tensor:
    """The largest weighted pixel of each bin, 0 where none is read: (R, C, height, width)."""
    check_allocation([*pixels.shape, table.shape[1]])
    weighted = table[pixels] * shares[..., None]  # (R, height, width, pixels, C)
    largest = weighted.masked_fill(~is_read[..., None], float("-inf")).amax(dim=3)
    return torch.where(is_read.any(dim=3)[..., None], largest, 0.0).permute(0, 3, 1, 2)


def _down(values: Tensor) -> Tensor:
    """(R, height, samples) to where they stand among (R, height, width, samples, samples)."""
    return values[:, :, None, :, None]


def _across(values: Tensor) -> Tensor:
    return values[:, None, :, None, :]


@operator("RoiAlign")
def build_roi_align(builder: Builder, node: OnnxNode) -> Value:
    usual = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    mode, corner = node.attribute("mode", "avg"), node.attribute("coordinate_transformation_mode", usual)
    if mode not in ("avg", "max"):
        raise Unsupported(f"RoiAlign in mode {mode}")
    return builder.call(
        roi_align,
        *node.inputs(),
        mode=mode,
        height=node.attribute("output_height", 1),
        width=node.attribute("output_width", 1),
        samples=node.attribute("sampling_ratio", 0),
        scale=node.attribute("spatial_scale", 1.0),
        half_pixel=int(corner == "half_pixel"),
    )


@emits(roi_align)
def emit_roi_align(out: Emission, call: Call) -> str:
    literals = call.kwargs
    attributes: dict[str, Any] = {
        "mode": literals["mode"],
        "output_height": literals["height"],
        "output_width": literals["width"],
        "sampling_ratio": literals["samples"],
        "spatial_scale": float(literals["scale"]),
    }
    out.require_opset(16 if literals["half_pixel"] else 10)
    if out.opset >= 16:
        names = ("output_half_pixel", "half_pixel")
        attributes["coordinate_transformation_mode"] = names[literals["half_pixel"]]
    return out.node("RoiAlign", call.inputs, name=call.base, **attributes)
