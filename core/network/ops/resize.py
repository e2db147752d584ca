"""Resize and Upsample; those that crop or keep the aspect ratio are in `fitted_resize.py`."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.fitted_resize import build_cropped, build_within, kernel_attributes
from core.network.ops.interpolation import CROP, ROUNDINGS, TAPS, TRANSFORMS, Kernel, interpolate
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

ATTRIBUTES = (
    *("mode", "scales", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside"),
    *("antialias", "keep_aspect_ratio_policy", "axes", "extrapolation_value"),
)
FLOATING = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
FAST = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}
"""What torch calls the modes that it has, by the number of spatial axes."""


def resize(
    x: Tensor,
    *,
    scales: list[float] | None,
    sizes: list[int] | None,
    mode: str,
    transform: str,
    rounding: str = "floor",
    cubic: float = -0.75,
    exclude: int = 0,
    antialias: int = 0,
) -> Tensor:
    """To `sizes`, or times `scales`; exactly one of them is given, a number for each axis of `x`.

    By sizes, batches and channels stay as they come. So does an axis whose size is 0.

    Args:
        mode, transform, rounding, cubic, exclude, antialias: see `Kernel`.
    """
    kernel = Kernel(mode, transform, rounding, cubic, exclude, antialias)
    old = list(x.shape)
    if sizes is None:
        assert scales is not None
        sizes = [int(np.float32(length) * np.float32(scale)) for length, scale in zip(old, scales, strict=True)]
    else:
        sizes = [*old[:2], *sizes[2:]]
    new = [size or length for length, size in zip(old, sizes, strict=True)]
    factors = scales or [after / max(before, 1) for before, after in zip(old, new, strict=True)]
    check_allocation(new, x.element_size())
    if torchs := _torchs_mode(old, new, factors, kernel):
        return F.interpolate(x, new[2:], mode=torchs, align_corners=_corners(kernel))
    for axis in range(x.dim()):
        if factors[axis] != 1.0:
            x = interpolate(x, axis, new[axis], factors[axis], kernel)
    return x


def resize_to(x: Tensor, sizes: Tensor, *, axes: list[int] | None = None, **literals: Any) -> Tensor:
    """`resize` to sizes that the shape plane computes, along `axes` or all of them."""
    wanted = _every_axis(x, sizes.tolist(), axes, list(x.shape))
    if wanted[1] != x.shape[1]:
        raise ValueError(f"Resize of {x.shape[1]} channels to {wanted[1]}")
    return resize(x, scales=None, sizes=wanted, **literals)


def resize_by(x: Tensor, scales: Tensor, *, axes: list[int] | None = None, **literals: Any) -> Tensor:
    """`resize` by factors that the shape plane computes, along `axes` or all of them."""
    return resize(x, scales=_every_axis(x, scales.tolist(), axes, [1.0] * x.dim()), sizes=None, **literals)


def _every_axis(x: Tensor, numbers: list[Any], axes: list[int] | None, others: list[Any]) -> list[Any]:
    if axes is None:
        return numbers
    given = {axis % x.dim(): number for axis, number in zip(axes, numbers, strict=True)}
    return [given.get(axis, other) for axis, other in enumerate(others)]


def _torchs_mode(old: list[int], new: list[int], factors: list[float], kernel: Kernel) -> str:
    """The mode of torch that computes the same, and faster; empty where there is none."""
    spatial = list(zip(old, new, factors, strict=True))[2:]
    if (
        not spatial
        or old[:2] != new[:2]
        or kernel.antialias
        or any(before * factor != after for before, after, factor in spatial)
    ):
        return ""
    if kernel.mode == "nearest":
        doubles = all(factor in (1.0, 2.0, 4.0) for factor in factors) and len(spatial) <= 3
        return "nearest" if doubles and (kernel.transform, kernel.rounding) == ("asymmetric", "floor") else ""
    if kernel.transform == "pytorch_half_pixel":
        plain = all(after > 1 for after in new[2:])
    else:
        plain = kernel.transform in ("half_pixel", "align_corners")
    if kernel.mode == "cubic":
        plain = plain and kernel.cubic == -0.75 and not kernel.exclude
    return FAST.get((kernel.mode, len(spatial)), "") if plain else ""


def _corners(kernel: Kernel) -> bool | None:
    return None if kernel.mode == "nearest" else kernel.transform == "align_corners"


@operator("Resize", "Upsample")
def build_resize(builder: Builder, node: OnnxNode) -> Value:
    literals = _kernel(node)
    if node.has("scales"):
        return _by_scales(builder, node, node.attribute("scales"), literals)
    if literals["transform"] == CROP:
        return build_cropped(builder, node, literals)
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch" and node.given(3):
        return build_within(builder, node, literals)
    at = 1 if node.opset < 11 else 2
    if node.given(at) and not node.is_constant(at):
        return _computed(builder, node, resize_by, at, literals)
    scales = node.tensor(at).reshape(-1).tolist() if node.given(at) else []
    if scales:
        return _by_scales(builder, node, _all_axes(node, scales, 1.0), literals)
    sizes = node.output_shape() if node.given(3) and not node.is_constant(3) else _all_axes(node, node.ints(3) or [], 0)
    shape = node.shape(0)
    if sizes is None or shape is None or not all(isinstance(size, int) for size in sizes[1:]):
        return _computed(builder, node, resize_to, 3, literals)
    _check_stays(node, shape, sizes)
    known = [size if isinstance(size, int) else 0 for size in sizes]
    return builder.call(resize, node.input(0), scales=None, sizes=known, **literals)


def _kernel(node: OnnxNode) -> dict[str, Any]:
    node.only(*ATTRIBUTES)
    mode = node.attribute("mode", "nearest")
    mode = "linear" if node.op == "Upsample" and mode == "bilinear" else mode
    if node.opset < 11:
        return {"mode": _known(mode, TAPS), "transform": "asymmetric", "rounding": "floor"}
    transform = _known(node.attribute("coordinate_transformation_mode", "half_pixel"), (*TRANSFORMS, CROP))
    literals: dict[str, Any] = {"mode": _known(mode, TAPS), "transform": transform}
    if mode == "nearest":
        literals["rounding"] = _known(node.attribute("nearest_mode", "round_prefer_floor"), ROUNDINGS)
    elif node.source.element_type(node.name(0)) not in FLOATING:
        raise Unsupported(f"{node.op} of integers in mode {mode}")
    if mode == "cubic":
        literals["cubic"] = node.attribute("cubic_coeff_a", -0.75)
    if mode == "cubic" or node.attribute("antialias", 0):
        literals["exclude"] = node.attribute("exclude_outside", 0)
    if node.attribute("antialias", 0):
        literals["antialias"] = 1
    return literals


def _known(name: str, names: Any) -> str:
    if name not in names:
        raise Unsupported(f"Resize in mode {name}")
    return name


def _all_axes(node: OnnxNode, numbers: list[Any], filler: float) -> list[Any]:
    """A number for each axis; `filler` for those that `axes` leaves out."""
    axes, rank = node.attribute("axes"), node.rank(0)
    if axes is not None and rank is not None:
        given = {axis % rank: number for axis, number in zip(axes, numbers, strict=True)}
        return [given.get(axis, filler) for axis in range(rank)]
    if axes is not None or rank not in (None, len(numbers)):
        raise Unsupported(f"{node.op} along some axes")
    return numbers


def _by_scales(builder: Builder, node: OnnxNode, scales: list[float], literals: dict[str, Any]) -> Value:
    """Before opset 11 onnxruntime rounds up where it shrinks."""
    if scales[:2] != [1.0, 1.0]:
        raise Unsupported(f"{node.op} of channels")
    if node.opset < 11 and min(scales) < 1:
        if literals["mode"] == "nearest" and max(scales) > 1:
            raise Unsupported(f"{node.op} that shrinks one axis and stretches another")
        literals["rounding"] = "ceil"
    return builder.call(resize, node.input(0), scales=scales, sizes=None, **literals)


def _check_stays(node: OnnxNode, shape: list[Any], sizes: list[Any]) -> None:
    """Batches and channels must be known to stay; a batch that is free is taken to."""
    free = not isinstance(shape[0], int) or not isinstance(sizes[0], int)
    if not (free or sizes[0] in (0, shape[0])) or sizes[1] not in (0, shape[1]):
        raise Unsupported(f"{node.op} to a size that may change channels")


def _computed(builder: Builder, node: OnnxNode, function: Any, at: int, literals: dict[str, Any]) -> Value:
    rank, axes = node.rank(0) or 0, node.attribute("axes")
    if rank < 3 or (axes is not None and min(axis % rank for axis in axes) < 2):
        raise Unsupported(f"{node.op} of other than images to computed sizes")
    if node.opset < 11 and node.op == "Resize" and literals["mode"] == "nearest":
        raise Unsupported("Resize by computed factors, rounded up only where it shrinks")
    given = {} if axes is None else {"axes": axes}
    return builder.call(function, node.input(0), node.input(at), **given, **literals)


@emits(resize, resize_to, resize_by)
def emit_resize(out: Emission, call: Call) -> str:
    literals = call.kwargs
    x = call.inputs[0]
    if out.opset < 9:
        return out.node("Upsample", [x], name=call.base, mode=literals["mode"], scales=literals["scales"])
    if out.opset < 11:
        op = "Upsample" if out.opset < 10 else "Resize"
        return out.node(op, [x, _scales(out, call)], name=call.base, mode=literals["mode"])
    attributes = kernel_attributes(literals)
    by_size = call.node.target is resize_to or literals.get("sizes") is not None
    target = ["", "", _sizes(out, call)] if by_size else ["", _scales(out, call)]
    if out.opset < 13:
        target[0] = out.initializer(f"{call.base}/roi", np.zeros(0, np.float32))
    if out.opset < 13 and by_size:
        target[1] = out.initializer(f"{call.base}/scales", np.zeros(0, np.float32))
    return out.node("Resize", [x, *target], name=call.base, **attributes)


def _scales(out: Emission, call: Call) -> str:
    if call.node.target is resize_by:
        return call.inputs[1]
    return out.initializer(f"{call.base}/scales", torch.tensor(call.kwargs["scales"]).numpy())


def _sizes(out: Emission, call: Call) -> str:
    """A size of 0 is what comes in."""
    if call.node.target is resize_to:
        return call.inputs[1]
    sizes = call.kwargs["sizes"]
    given = out.ints(f"{call.base}/sizes", sizes)
    if all(sizes):
        return given
    shape = out.node("Shape", [call.inputs[0]], name=f"{call.base}/shape")
    is_given = out.initializer(f"{call.base}/given", np.array([size != 0 for size in sizes]))
    return out.node("Where", [is_given, given, shape], name=f"{call.base}/size")
