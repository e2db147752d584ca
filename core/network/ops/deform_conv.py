"""DeformConv: a convolution that reads each of its places a computed distance away.

Dai et al. 2017, "Deformable Convolutional Networks", arXiv:1703.06211; with a mask as in Zhu, Hu, Lin and Dai 2018,
"Deformable ConvNets v2", arXiv:1811.11168.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.network.blank import blank
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.bilinear import neighbours, rows_of, weighted_sums
from core.network.ops.operands import stripped
from core.network.ops.weights import emit_weight
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

ATTRIBUTES = ("kernel_shape", "strides", "dilations", "pads", "group", "offset_group")


@dataclass(frozen=True)
class Options:
    """What a convolution has not.

    Attributes:
        offset_groups: equal parts of the input's channels that have distances of their own.
        after: padding behind each axis; what is before it is the convolution's `padding`.
    """

    offset_groups: int
    after: tuple[int, int]


class DeformConv(nn.modules.conv._ConvNd):
    """Parameters as those of a Conv2d: weight (out, in / groups, height, width) and bias (out,) or None."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], options: Options, **literals: Any) -> None:
        super().__init__(
            inputs, outputs, kernel, transposed=False, output_padding=(0, 0), padding_mode="zeros", **literals
        )
        self.options = options

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, in, H, W); beyond it are zeros.
            offset: (N, offset groups * height * width * 2, *out), how far down and how far across each place of the
                kernel is moved.
            mask: (N, offset groups * height * width, *out) factors.

        Returns:
            (N, out, *out).
        """
        parts = self.options.offset_groups
        read = _read(x, self._places(offset, parts), None if mask is None else mask.reshape(len(x), parts, -1))
        weight = self.weight.reshape(self.groups, -1, self.weight.shape[1:].numel())
        y = (weight @ read.reshape(len(x), self.groups, weight.shape[2], -1)).reshape(len(x), -1, *offset.shape[2:])
        return y if self.bias is None else y + self.bias[:, None, None]

    def _places(self, offset: Tensor, parts: int) -> list[Tensor]:
        """Rows and columns that are read: (N, parts, height * width * out places) each."""
        high, wide = self.kernel_size
        moves = offset.reshape(len(offset), parts, high, wide, 2, *offset.shape[2:]).unbind(4)
        return [(move + self._grid(axis, move)).flatten(2) for axis, move in enumerate(moves)]

    def _grid(self, axis: int, like: Tensor) -> Tensor:
        """Where a convolution would read along an axis: of (..., height, width, *out) the two axes that count."""
        taps = torch.arange(self.kernel_size[axis], device=like.device) * self.dilation[axis]
        starts = torch.arange(like.shape[4 + axis], device=like.device) * self.stride[axis] - int(self.padding[axis])
        grid = taps[:, None] + starts
        return grid[:, None, :, None] if axis == 0 else grid[None, :, None, :]


def _read(x: Tensor, places: list[Tensor], mask: Tensor | None) -> Tensor:
    """(N, C, height * width * out places): what stands at the places, those of each part of the channels by itself."""
    n, parts, _ = places[0].shape
    images = x.reshape(n * parts, -1, *x.shape[2:])
    (ys, y_shares), (xs, x_shares) = (neighbours(at, size) for at, size in zip(places, x.shape[2:], strict=True))
    first = torch.arange(n * parts, device=x.device).reshape(n, parts, 1, 1, 1) * x.shape[2]
    rows = (first + ys[..., None]) * x.shape[3] + xs[..., None, :]  # (N, parts, places, 2, 2)
    shares = y_shares[..., None] * x_shares[..., None, :]
    if mask is not None:
        shares = shares * mask[..., None, None]
    return weighted_sums(rows_of(images), rows.flatten(3), shares.flatten(3)).transpose(2, 3).reshape(n, x.shape[1], -1)


@operator("DeformConv")
def build_deform_conv(builder: Builder, node: OnnxNode) -> Value:
    node.only(*ATTRIBUTES)
    weight = node.tensor(1)
    if node.is_constant(0) or weight.dim() != 4 or not weight.is_floating_point():
        raise Unsupported(f"DeformConv with a weight of {weight.dim()} axes")
    groups, pads = node.attribute("group", 1), node.attribute("pads", [0] * 4)
    module = blank(
        DeformConv,
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        Options(node.attribute("offset_group", 1), tuple(pads[2:])),
        stride=tuple(node.attribute("strides", [1, 1])),
        padding=tuple(pads[:2]),
        dilation=tuple(node.attribute("dilations", [1, 1])),
        groups=groups,
        bias=node.given(3),
        device="meta",
    )
    module.weight = builder.parameter(node, 1, "", weight)
    if node.given(3):
        module.bias = builder.parameter(node, 3)
    beside = [node.input(place) if node.given(place) else None for place in (2, 4)]
    return builder.module(module, node.input(0), *beside, layer=node.layer)


@emits(DeformConv)
def emit_deform_conv(out: Emission, call: Call) -> str:
    module = call.module
    assert isinstance(module, DeformConv)
    x, offset, mask = call.inputs
    bias = "" if module.bias is None else emit_weight(out, call, "bias")
    inputs = [x, emit_weight(out, call, "weight"), offset, bias, mask]
    out.require_opset(19)
    return out.node(
        "DeformConv",
        stripped(inputs),
        name=call.base,
        kernel_shape=list(module.kernel_size),
        strides=list(module.stride),
        dilations=list(module.dilation),
        pads=[*(int(size) for size in module.padding), *module.options.after],
        group=module.groups,
        offset_group=module.options.offset_groups,
    )
