"""Convolutions: torch's layers, with a pad node before them where the padding is not symmetric."""

from typing import Any

from onnx import NodeProto, helper
from torch import Tensor, nn

from core.network.blank import blank
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.shape import pad, slice_
from core.network.ops.weights import emit_weight
from core.network.ops.windows import read_window, spatial_pads, transposed_pads
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
ATTRIBUTES = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group")
FUSED = ("activation", "activation_params")
"""What onnxruntime's fused convolution has besides; see `fused.py`."""


@operator("Conv")
def build_conv(builder: Builder, node: OnnxNode) -> Value:
    node.only(*ATTRIBUTES, *FUSED)
    weight = _weight(node)
    window = read_window(node, list(weight.shape[2:]))
    before, after = window.pads
    x = node.input(0)
    if before != after:
        x = builder.call(pad, x, pads=spatial_pads(before, after), mode="constant", value=0.0)
        before = [0] * len(before)
    groups = node.attribute("group", 1)
    module = blank(
        CONV[len(before)],
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(window.kernel),
        stride=tuple(window.strides),
        padding=tuple(before),
        dilation=tuple(window.dilations),
        groups=groups,
        bias=node.given(2),
        device="meta",
    )
    return _layer(builder, node, module, x, weight)


@operator("ConvTranspose")
def build_conv_transpose(builder: Builder, node: OnnxNode) -> Value:
    node.only(*ATTRIBUTES, "output_padding", "output_shape")
    weight = _weight(node)
    rank = weight.dim() - 2
    if rank not in TRANSPOSED:
        raise Unsupported(f"ConvTranspose over {rank} axes")
    before, after = transposed_pads(node, list(weight.shape[2:]))
    crop = [(b, a) for b, a in zip(before, after, strict=True)]
    even = before == after
    groups = node.attribute("group", 1)
    module = blank(
        TRANSPOSED[rank],
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[2:]),
        stride=tuple(node.attribute("strides", [1] * rank)),
        padding=tuple(before) if even else (0,) * rank,
        output_padding=tuple(node.attribute("output_padding", [0] * rank)),
        groups=groups,
        bias=node.given(2),
        dilation=tuple(node.attribute("dilations", [1] * rank)),
        device="meta",
    )
    y = _layer(builder, node, module, node.input(0), weight)
    return y if even else _cropped(builder, y, crop)


def _cropped(builder: Builder, y: Value, crop: list[tuple[int, int]]) -> Value:
    axes = [axis + 2 for axis, (b, a) in enumerate(crop) if b or a]
    starts = [b for b, a in crop if b or a]
    ends = [-a if a else 2**63 - 1 for b, a in crop if b or a]
    return builder.call(slice_, y, starts=starts, ends=ends, axes=axes, steps=[1] * len(axes))


def _weight(node: OnnxNode) -> Tensor:
    if node.is_constant(0):
        raise Unsupported(f"{node.op} of a constant")
    weight = node.tensor(1)
    if not weight.is_floating_point() or weight.dim() - 2 not in CONV:
        raise Unsupported(f"{node.op} with a weight of {weight.dim()} axes")
    return weight


def _layer(builder: Builder, node: OnnxNode, module: nn.Module, x: Value, weight: Tensor) -> Value:
    module.weight = builder.parameter(node, 1, "", weight)
    if node.given(2):
        module.bias = builder.parameter(node, 2)
    return builder.module(module, x, layer=node.layer)


@emits(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def emit_conv(out: Emission, call: Call) -> str:
    module = call.module
    assert isinstance(module, nn.modules.conv._ConvNd)
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise TypeError(f"{call.layer}: padding must be numbers, of zeros; insert a pad node instead")
    inputs = [*call.inputs, emit_weight(out, call, "weight")]
    if module.bias is not None:
        inputs.append(emit_weight(out, call, "bias"))
    op = "ConvTranspose" if module.transposed else "Conv"
    attributes = _attributes(module) if call.template is None else _of_template(call.template)
    return out.node(op, inputs, name=call.base, **{**attributes, "group": module.groups})


def _attributes(module: nn.modules.conv._ConvNd) -> dict[str, Any]:
    padding = [int(size) for size in module.padding]
    attributes: dict[str, Any] = {
        "kernel_shape": list(module.kernel_size),
        "strides": list(module.stride),
        "dilations": list(module.dilation),
        "pads": padding + padding,
    }
    if any(module.output_padding):
        attributes["output_padding"] = list(module.output_padding)
    return attributes


def _of_template(template: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in template.attribute}
