"""Resize and Upsample: the modes in which torch and ONNX mean the same; others are left to onnxruntime."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize(x: Tensor, *, scales: list[float] | None, sizes: list[int] | None, mode: str, transform: str) -> Tensor:
    """To `sizes`, or times `scales`, along the spatial axes; exactly one of them is given.

    Args:
        mode: `nearest` (floor, asymmetric), or `linear`.
        transform: coordinate transformation: `asymmetric` for nearest, `half_pixel` or `align_corners` for linear.
    """
    if mode == "nearest":
        return F.interpolate(x, size=sizes, scale_factor=scales, mode="nearest")
    rank, corners = x.dim() - 2, transform == "align_corners"
    return F.interpolate(x, size=sizes, scale_factor=scales, mode=LINEAR[rank], align_corners=corners)


@operator("Resize", "Upsample")
def build_resize(builder: Builder, node: OnnxNode) -> Value:
    mode, transform = _mode(node)
    scales, sizes = _target(node)
    rank = node.rank(0)
    given = scales if scales is not None else sizes
    if rank is not None and rank != len(given or []):
        raise Unsupported(f"{node.op} along some axes")
    if rank is not None and rank - 2 not in LINEAR:
        raise Unsupported(f"{node.op} of {rank} axes")
    if scales is not None:
        if scales[:2] != [1.0, 1.0]:
            raise Unsupported(f"{node.op} of channels")
        return builder.call(resize, node.input(0), scales=scales[2:], sizes=None, mode=mode, transform=transform)
    shape = node.shape(0)
    if sizes is None or shape is None or list(shape[1:2]) != sizes[1:2]:
        raise Unsupported(f"{node.op} to a size that may change channels")
    return builder.call(resize, node.input(0), scales=None, sizes=sizes[2:], mode=mode, transform=transform)


def _mode(node: OnnxNode) -> tuple[str, str]:
    mode = node.attribute("mode", "nearest")
    if node.op == "Upsample" or node.opset < 11:
        if mode != "nearest":
            raise Unsupported(f"{node.op} in mode {mode} before opset 11")
        return "nearest", "asymmetric"
    if node.attribute("antialias", 0) or node.has("axes") or node.attribute("exclude_outside", 0):
        raise Unsupported("Resize with antialias, axes or exclude_outside")
    transform = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if mode == "nearest" and transform == "asymmetric" and rounding == "floor":
        return mode, transform
    if transform == "pytorch_half_pixel" and not _is_wide(node):
        raise Unsupported("Resize by pytorch_half_pixel to what may be a single place, which then is the first")
    if mode == "linear" and transform in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return mode, "align_corners" if transform == "align_corners" else "half_pixel"
    raise Unsupported(f"Resize in mode {mode}, {transform}, {rounding}")


def _is_wide(node: OnnxNode) -> bool:
    """Whether more than one place is known to remain along each spatial axis."""
    sizes = node.output_shape()
    return sizes is not None and all(isinstance(size, int) and size > 1 for size in sizes[2:])


def _target(node: OnnxNode) -> tuple[list[float] | None, list[int] | None]:
    """Scales or sizes of all axes."""
    if node.has("scales"):
        return node.attribute("scales"), None
    position = 1 if node.opset < 11 else 2
    if node.given(position):
        scales = [float(scale) for scale in node.tensor(position).reshape(-1).tolist()]
        if scales:
            return scales, None
    return None, node.ints(3)


@emits(resize)
def emit_resize(out: Emission, call: Call) -> str:
    scales, sizes, mode, transform = (call.kwargs[name] for name in ("scales", "sizes", "mode", "transform"))
    (x,) = call.inputs
    if out.opset < 11:
        op = "Upsample" if out.opset < 10 else "Resize"
        return out.node(op, [x, out.initializer(f"{call.base}/scales", _full(scales))], name=call.base, mode=mode)
    attributes = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        attributes["nearest_mode"] = "floor"
    if scales is not None:
        inputs = [x, "", out.initializer(f"{call.base}/scales", _full(scales))]
        return out.node("Resize", inputs, name=call.base, **attributes)
    shape = out.node("Shape", [x], name=f"{call.base}/shape")
    starts, ends = out.ints(f"{call.base}/from", [0]), out.ints(f"{call.base}/to", [2])
    kept = out.node("Slice", [shape, starts, ends], name=f"{call.base}/kept")
    wanted = out.node("Concat", [kept, out.ints(f"{call.base}/sizes", sizes)], name=f"{call.base}/size", axis=0)
    return out.node("Resize", [x, "", "", wanted], name=call.base, **attributes)


def _full(scales: list[float]) -> np.ndarray:
    return torch.tensor([1.0, 1.0, *scales]).numpy()
