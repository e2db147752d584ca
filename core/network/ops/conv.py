"""Convolutions: torch's layers, with a pad node before them where the padding is not symmetric."""

from typing import Any

from onnx import NodeProto, helper
from torch import Tensor, nn

from core.network.blank import blank
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.computed_conv import convolve, convolve_transposed
from core.network.ops.padding import pad
from core.network.ops.same_padding import crop_to, pad_same
from core.network.ops.shape import slice_
from core.network.ops.weights import emit_weight
from core.network.ops.windows import Window, reach, read_crop, read_window, spatial_pads
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
    window = read_window(node, _kernel(node))
    x, padding = _padded(builder, node.input(0), window)
    groups = node.attribute("group", 1)
    if _is_computed(node):
        literals = {"strides": window.strides, "padding": padding, "dilations": window.dilations, "groups": groups}
        return builder.call(convolve, x, *_weights(node), **literals)
    weight = _weight(node)
    module = blank(
        CONV[len(padding)],
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(window.kernel),
        stride=tuple(window.strides),
        padding=tuple(padding),
        dilation=tuple(window.dilations),
        groups=groups,
        bias=node.given(2),
        device="meta",
    )
    return _layer(builder, node, module, x, weight)


def _padded(builder: Builder, x: Value, window: Window) -> tuple[Value, list[int]]:
    """What the layer reads, and what it pads by itself."""
    none = [0] * len(window.kernel)
    if window.pads is None:
        wide = [reach(k, dilation) for k, dilation in zip(window.kernel, window.dilations, strict=True)]
        return builder.call(pad_same, x, wide=wide, strides=window.strides, auto=window.auto), none
    before, after = window.pads
    if before == after:
        return x, before
    return builder.call(pad, x, pads=spatial_pads(before, after), mode="constant", value=0.0), none


@operator("ConvTranspose")
def build_conv_transpose(builder: Builder, node: OnnxNode) -> Value:
    node.only(*ATTRIBUTES, "output_padding", "output_shape")
    kernel = _kernel(node)
    rank = len(kernel)
    strides, dilations = _steps(node, rank)
    crop = read_crop(node, kernel, strides, dilations)
    before, after = crop.pads or ([0] * rank, [0] * rank)
    padding, groups = before if before == after else [0] * rank, node.attribute("group", 1)
    if _is_computed(node):
        literals = {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
        y = builder.call(convolve_transposed, node.input(0), *_weights(node), **literals, extra=crop.extra)
    else:
        weight = _weight(node)
        module = blank(
            TRANSPOSED[rank],
            weight.shape[0],
            weight.shape[1] * groups,
            tuple(kernel),
            stride=tuple(strides),
            padding=tuple(padding),
            output_padding=tuple(crop.extra),
            groups=groups,
            bias=node.given(2),
            dilation=tuple(dilations),
            device="meta",
        )
        y = _layer(builder, node, module, node.input(0), weight)
    if crop.pads is None:
        return builder.call(crop_to, y, sizes=crop.wanted, uncounted=crop.uncounted, auto=crop.auto)
    return y if before == after else _cropped(builder, y, before, after)


def _steps(node: OnnxNode, rank: int) -> tuple[list[int], list[int]]:
    return node.attribute("strides", [1] * rank), node.attribute("dilations", [1] * rank)


def _cropped(builder: Builder, y: Value, before: list[int], after: list[int]) -> Value:
    crop = [(axis, b, a) for axis, (b, a) in enumerate(zip(before, after, strict=True), 2) if b or a]
    axes, starts = [axis for axis, _, _ in crop], [b for _, b, _ in crop]
    ends = [-a if a else 2**63 - 1 for _, _, a in crop]
    return builder.call(slice_, y, starts=starts, ends=ends, axes=axes, steps=[1] * len(axes))


def _kernel(node: OnnxNode) -> list[int]:
    """Sizes of the window."""
    sizes = (node.shape(1) or [])[2:]
    known = [size for size in sizes if isinstance(size, int)]
    kernel = known if len(known) == len(sizes) > 0 else node.attribute("kernel_shape")
    if kernel is None or len(kernel) not in CONV:
        raise Unsupported(f"{node.op} with a window of {kernel or sizes}")
    return kernel


def _is_computed(node: OnnxNode) -> bool:
    """Whether the weights are no parameters of a layer."""
    return any(node.given(place) and not node.is_constant(place) for place in (1, 2))


def _weights(node: OnnxNode) -> list[Value | None]:
    return [node.input(1), node.input(2) if node.given(2) else None]


def _weight(node: OnnxNode) -> Tensor:
    if node.is_constant(0):
        raise Unsupported(f"{node.op} of a constant")
    weight = node.tensor(1)
    if not weight.is_floating_point():
        raise Unsupported(f"{node.op} with whole numbers for weights")
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
    if call.template is None or "group" in attributes or module.groups != 1:
        attributes["group"] = module.groups
    return out.node(op, inputs, name=call.base, **attributes)


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
