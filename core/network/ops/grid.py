"""GridSample and AffineGrid: an image read at computed places."""

import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

MODES = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "cubic": "bicubic"}
"""What torch calls a mode; opset 20 renamed two."""

NEW_NAME = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}


def grid_sample(x: Tensor, grid: Tensor, *, mode: str, padding: str, align: int) -> Tensor:
    """(N, C, *in) read at (N, *out, axes), which runs from -1 to 1 along each axis, the last axis of `x` first."""
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=bool(align))


def affine_grid(theta: Tensor, size: Tensor, *, align: int) -> Tensor:
    """The grid of an image of `size` (N, C, *out) under the matrices `theta`: (N, *out, axes)."""
    check_allocation([*size.tolist(), theta.shape[1]], theta.element_size())
    return F.affine_grid(theta, size.tolist(), align_corners=bool(align))


@operator("GridSample")
def build_grid_sample(builder: Builder, node: OnnxNode) -> Value:
    node.only("mode", "padding_mode", "align_corners")
    mode = MODES.get(node.attribute("mode", "bilinear"))
    if mode is None or node.rank(0) not in (4, 5) or (mode == "bicubic" and node.rank(0) != 4):
        raise Unsupported(f"GridSample in mode {node.attribute('mode')} over {node.rank(0)} axes")
    padding, align = node.attribute("padding_mode", "zeros"), node.attribute("align_corners", 0)
    return builder.call(grid_sample, node.input(0), node.input(1), mode=mode, padding=padding, align=align)


@operator("AffineGrid")
def build_affine_grid(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(affine_grid, node.input(0), node.input(1), align=node.attribute("align_corners", 0))


@emits(grid_sample)
def emit_grid_sample(out: Emission, call: Call) -> str:
    out.require_opset(16)
    mode = call.kwargs["mode"] if out.opset < 20 else NEW_NAME[call.kwargs["mode"]]
    attributes = {"padding_mode": call.kwargs["padding"], "align_corners": call.kwargs["align"]}
    return out.node("GridSample", call.inputs, name=call.base, mode=mode, **attributes)


@emits(affine_grid)
def emit_affine_grid(out: Emission, call: Call) -> str:
    out.require_opset(20)
    return out.node("AffineGrid", call.inputs, name=call.base, align_corners=call.kwargs["align"])
