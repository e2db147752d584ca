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
HALF = np.float32(0.5)

TRANSFORMS = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True)
class Kernel:
    """How values between places are made.

    Attributes:
        mode: `nearest`, `linear` or `cubic`.
        transform: coordinate transformation, one of TRANSFORMS.
        rounding: of nearest, one of ROUNDINGS.
        cubic: coefficient a of Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing".
        exclude: whether cubic leaves out places beyond the edge; they repeat the edge otherwise.
    """

    mode: str
    transform: str
    rounding: str
    cubic: float
    exclude: int


def interpolate(x: Tensor, axis: int, size: int, scale: float, kernel: Kernel) -> Tensor:
    """`x` with `size` places along an axis, `scale` times as many as it has."""
    length = x.shape[axis]
    check_allocation([*x.shape[:axis], size, *x.shape[axis + 1 :]], x.element_size())
    places, weights = taps(length, size, np.float32(scale), kernel)
    rows = [x.index_select(axis, torch.from_numpy(row).to(x.device)) for row in places]
    if kernel.mode == "nearest":
        return rows[0]
    view = [-1 if other == axis else 1 for other in range(x.dim())]
    factors = torch.from_numpy(weights).to(x.device, x.dtype).reshape(len(rows), *view)
    result = rows[0] * factors[0]
    for row, factor in zip(rows[1:], factors[1:], strict=True):
        result = result + row * factor
    return result


def taps(length: int, size: int, scale: np.float32, kernel: Kernel) -> tuple[NDArray[np.int64], Floats]:
    """Which of `length` places each of `size` new ones reads, and their weights: two arrays (taps, size)."""
    at = _origins(length, size, scale, kernel.transform)
    if kernel.mode == "nearest":
        places = np.clip(_rounded(at, kernel.rounding), 0, length - 1).astype(np.int64)
        return places[None], np.ones((1, size), np.float32)
    if kernel.mode == "linear":
        at = np.clip(at, 0, length - 1)
    first = np.floor(at)
    part = at - first
    weights = np.stack([1 - part, part]) if kernel.mode == "linear" else _keys(part, kernel.cubic)
    offsets = np.arange(len(weights)) - (len(weights) // 2 - 1)
    places = first.astype(np.int64) + offsets[:, None]
    if kernel.mode == "cubic" and kernel.exclude:
        weights = np.where((places < 0) | (places >= length), np.float32(0), weights)
        weights = weights / weights.sum(0)
    return np.clip(places, 0, length - 1), weights.astype(np.float32)


def _origins(length: int, size: int, scale: np.float32, transform: str) -> Floats:
    """Where each new place lies on the old axis."""
    new = np.arange(size, dtype=np.float32)
    if transform == "align_corners":
        return new * np.float32(length - 1) / np.float32(size - 1) if size > 1 else new
    if transform == "asymmetric":
        return new / scale
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


def _keys(part: Floats, a: float) -> Floats:
    """Weights of the four neighbours at a distance `part` from the second."""
    near, far = np.stack([part, 1 - part]), np.stack([1 + part, 2 - part])
    inner = ((a + 2) * near - (a + 3)) * near**2 + 1
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return np.stack([outer[0], inner[0], inner[1], outer[1]])
