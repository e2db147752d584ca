"""Resize of a part of an image, and to sizes between which the aspect ratio is kept."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.interpolation import CROP, Floats, Kernel, interpolate, origins
from core.network.registry import Call, emits
from core.network.unsupported import Unsupported
from core.network.values import Value

POLICIES = {"not_larger": min, "not_smaller": max}


def resize_within(x: Tensor, sizes: Tensor, *, policy: str, axes: list[int] | None, **literals: Any) -> Tensor:
    """All axes, or those of `axes`, by one factor, so that no side is longer, or shorter, than its one of `sizes`."""
    along = _axes(x, axes)
    wanted = [np.float32(size) / np.float32(x.shape[axis]) for axis, size in zip(along, sizes.tolist(), strict=True)]
    factor = POLICIES[policy](wanted)
    for axis in along:
        size = int(np.floor(factor * np.float32(x.shape[axis]) + np.float32(0.5)))
        x = x if factor == 1 else interpolate(x, axis, size, float(factor), _kernel(literals))
    return x


def crop_and_resize(
    x: Tensor,
    target: Tensor,
    roi: Tensor,
    *,
    is_factor: int,
    axes: list[int] | None,
    extrapolation: float,
    **literals: Any,
) -> Tensor:
    """A part of `x` to sizes or by factors.

    As in onnxruntime, factors are of the sizes of all of `x`, and an axis that keeps its size is read whole.

    Args:
        target: a size or a factor for each of `axes`, or of all axes.
        roi: where the part starts along each of these, then where it ends, from 0 to 1.
        extrapolation: what is read outside of `x`.
    """
    along, kernel, bounds = _axes(x, axes), _kernel({**literals, "transform": CROP}), roi.float().tolist()
    for place, (axis, number) in enumerate(zip(along, target.tolist(), strict=True)):
        length, crop = x.shape[axis], (bounds[place], bounds[place + len(along)])
        size = int(np.float32(length) * np.float32(number)) if is_factor else number
        factor = np.float32(number) if is_factor else np.float32(size) / np.float32(length)
        if factor != 1:
            x = interpolate(x, axis, size, float(factor), kernel, crop)
            x = _outside(x, axis, origins(length, size, factor, CROP, crop), length, extrapolation)
    return x


def _outside(x: Tensor, axis: int, at: Floats, length: int, value: float) -> Tensor:
    """`value` where a position lies outside of the `length` places that there were."""
    beyond = torch.from_numpy((at < 0) | (at > length - 1)).to(x.device)
    return x.masked_fill(beyond.reshape([-1 if other == axis else 1 for other in range(x.dim())]), value)


def _axes(x: Tensor, axes: list[int] | None) -> list[int]:
    return list(range(x.dim())) if axes is None else [axis % x.dim() for axis in axes]


def _kernel(literals: Mapping[str, Any]) -> Kernel:
    return Kernel(**{"rounding": "floor", "cubic": -0.75, "exclude": 0, **literals})


def build_within(builder: Builder, node: OnnxNode, literals: dict[str, Any]) -> Value:
    policy = node.attribute("keep_aspect_ratio_policy")
    if policy not in POLICIES:
        raise Unsupported(f"Resize with the policy {policy}")
    axes = node.attribute("axes")
    if axes is not None and min(axes, default=0) < 0:
        raise Unsupported("Resize with an aspect ratio to keep, of which onnxruntime leaves out negative axes")
    return builder.call(resize_within, node.input(0), node.input(3), policy=policy, axes=axes, **literals)


def build_cropped(builder: Builder, node: OnnxNode, literals: dict[str, Any]) -> Value:
    """Empty factors stand for none."""
    sized = node.given(3) and (not node.is_constant(3) or node.tensor(3).numel() > 0)
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("Resize of a part with an aspect ratio to keep")
    rest = {name: value for name, value in literals.items() if name != "transform"}
    return builder.call(
        crop_and_resize,
        node.input(0),
        node.input(3 if sized else 2),
        node.input(1),
        is_factor=int(not sized),
        axes=node.attribute("axes"),
        extrapolation=node.attribute("extrapolation_value", 0.0),
        **rest,
    )


def kernel_attributes(literals: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of opset 11 and later; `axes` and `antialias` came with 18."""
    attributes: dict[str, Any] = {
        "mode": literals["mode"],
        "coordinate_transformation_mode": literals.get("transform", CROP),
    }
    if literals["mode"] == "nearest":
        attributes["nearest_mode"] = literals["rounding"]
    elif literals["mode"] == "cubic":
        attributes["cubic_coeff_a"] = literals["cubic"]
    renamed = {"exclude": "exclude_outside", "antialias": "antialias", "axes": "axes"}
    return attributes | {name: literals[mine] for mine, name in renamed.items() if literals.get(mine)}


@emits(resize_within)
def emit_within(out: Emission, call: Call) -> str:
    x, sizes = call.inputs
    attributes = kernel_attributes(call.kwargs) | {"keep_aspect_ratio_policy": call.kwargs["policy"]}
    return out.node("Resize", [x, "", "", sizes], name=call.base, **attributes)


@emits(crop_and_resize)
def emit_cropped(out: Emission, call: Call) -> str:
    x, target, roi = call.inputs
    attributes = kernel_attributes(call.kwargs) | {"extrapolation_value": call.kwargs["extrapolation"]}
    if call.kwargs["is_factor"]:
        return out.node("Resize", [x, roi, target], name=call.base, **attributes)
    none = "" if out.opset >= 13 else out.initializer(f"{call.base}/scales", np.zeros(0, np.float32))
    return out.node("Resize", [x, roi, none, target], name=call.base, **attributes)
