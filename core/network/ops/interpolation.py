"""Interpolation along one axis as ONNX's Resize defines it: where each place is read from, and with which weights.

Positions are computed in fp32, as onnxruntime does, so that ties fall to the same side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.network.limits import check_allocation

Floats = NDArray[np.float32]
Crop = tuple[float, float]
"""The part of an axis that is read, from 0 to 1; the transform CROP alone heeds it."""
WHOLE = (0.0, 1.0)
HALF = np.float32(0.5)

NEAREST = "tf_half_pixel_for_nn"
TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric", NEAREST)
CROP = "tf_crop_and_resize"
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True)
class Kernel:
    """How values between places are made.

    Attributes:
        mode: `nearest`, `linear` or `cubic`.
        transform: coordinate transformation, one of TRANSFORMS or CROP.
        rounding: of nearest, one of ROUNDINGS.
        cubic: coefficient a of Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing".
        exclude: whether places beyond the edge are left out; they repeat the edge otherwise. Linear clamps instead.
        antialias: whether the window is widened where an image shrinks, so that it covers all places in between.
    """

    mode: str
    transform: str
    rounding: str
    cubic: float
    exclude: int
    antialias: int = 0


def interpolate(x: Tensor, axis: int, size: int, scale: float, kernel: Kernel, crop: Crop = WHOLE) -> Tensor:
    """`x` with `size` places along an axis, `scale` times as many as it has."""
    length = x.shape[axis]
    check_allocation([*x.shape[:axis], size, *x.shape[axis + 1 :]], x.element_size())
    places, weights = taps(length, origins(length, size, np.float32(scale), kernel.transform, crop), scale, kernel)
    rows = [x.index_select(axis, torch.from_numpy(row).to(x.device)) for row in places]
    if kernel.mode == "nearest":
        return rows[0]
    view = [-1 if other == axis else 1 for other in range(x.dim())]
    factors = torch.from_numpy(weights).to(x.device, x.dtype).reshape(len(rows), *view)
    result = rows[0] * factors[0]
    for row, factor in zip(rows[1:], factors[1:], strict=True):
        result = result + row * factor
    return result


def taps(length: int, at: Floats, scale: float, kernel: Kernel) -> tuple[NDArray[np.int64], Floats]:
    """Which of `length` places are read for each of the positions `at`, and their weights: arrays (taps, size)."""
    if kernel.mode == "nearest":
        places = np.clip(_rounded(at, kernel.rounding), 0, length - 1).astype(np.int64)
        return places[None], np.ones((1, len(at)), np.float32)
    if kernel.antialias:
        first, weights = _filtered(at, np.float32(scale), kernel)
    else:
        at = np.clip(at, 0, length - 1) if kernel.mode == "linear" else at
        first = np.floor(at) - (TAPS[kernel.mode] // 2 - 1)
        weights = _weights(first + np.arange(TAPS[kernel.mode])[:, None] - at, kernel)
    places = first.astype(np.int64) + np.arange(len(weights))[:, None]
    if kernel.exclude and (kernel.antialias or kernel.mode == "cubic"):
        weights = np.where((places < 0) | (places >= length), np.float32(0), weights)
        total = weights.sum(0)
        weights = weights / np.where(total == 0, 1, total)
    return np.clip(places, 0, length - 1), weights.astype(np.float32)


def _filtered(at: Floats, scale: np.float32, kernel: Kernel) -> tuple[Floats, Floats]:
    """First places and weights of windows that are as wide as what they stand for."""
    wider = np.maximum(1 / scale, np.float32(1))
    support = np.float32(TAPS[kernel.mode] / 2) * wider
    first = np.floor(at - support + 1)
    count = int(np.ceil(2 * support)) + 1
    check_allocation([count, len(at)], 8)
    places = first + np.arange(count, dtype=np.float32)[:, None]
    weights = _weights((places - at) / wider, kernel)
    return first, weights / weights.sum(0)


def origins(length: int, size: int, scale: np.float32, transform: str, crop: Crop) -> Floats:
    """Where each new place lies on the old axis."""
    new = np.arange(size, dtype=np.float32)
    if transform == CROP:
        start, end = np.float32(crop[0]), np.float32(crop[1])
        whole = np.float32(length - 1)
        if size > 1:
            return start * whole + new * (end - start) * whole / np.float32(size - 1)
        return np.full(size, 0.5 * (float(start) + float(end)) * (length - 1), np.float32)
    if transform == "align_corners":
        return new * np.float32(length - 1) / np.float32(size - 1) if size > 1 else new
    if transform == "asymmetric":
        return new / scale
    if transform == NEAREST:
        return (new + HALF) / scale
    if transform == "pytorch_half_pixel" and size == 1:
        return new
    shift = np.float32(0)
    if transform == "half_pixel_symmetric":
        shift = np.float32(length / 2) * (1 - np.float32(size) / (scale * np.float32(length)))
    return shift + (new + HALF) / scale - HALF


def _rounded(at: Floats, rounding: str) -> Floats:
    if rounding == "round_prefer_floor":
        return np.ceil(at - HALF)
    if rounding == "round_prefer_ceil":
        return np.floor(at + HALF)
    return np.floor(at) if rounding == "floor" else np.ceil(at)


def _weights(offset: Floats, kernel: Kernel) -> Floats:
    """Weights of places at these distances."""
    far = np.abs(offset)
    if kernel.mode == "linear":
        return np.maximum(1 - far, np.float32(0))
    a = kernel.cubic
    inner = ((a + 2) * far - (a + 3)) * far**2 + 1
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return np.where(far <= 1, inner, np.where(far < 2, outer, np.float32(0)))
