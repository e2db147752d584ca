"""Files that are quantised already: QuantizeLinear and DequantizeLinear, with gradients straight through.

Inside, integers travel as floats that hold whole numbers, so that the pair can be differentiated.
"""

import torch
from onnx import TensorProto
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

RANGES: dict[int, tuple[int, int]] = {TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127)}


def quantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int, least: int, greatest: int) -> Tensor:
    """Whole numbers, as floats. `scale` and `zero_point` are scalars, or vectors along `axis`."""
    steps = x / _along(scale, x, axis)
    rounded = steps + (steps.round() - steps).detach()
    return (rounded + _along(zero_point, x, axis)).clamp(least, greatest)


def dequantize_linear(x: Tensor, scale: Tensor, zero_point: Tensor | None, *, axis: int) -> Tensor:
    shift = 0 if zero_point is None else _along(zero_point, x, axis)
    return (x.to(scale.dtype) - shift) * _along(scale, x, axis)


def _along(vector: Tensor, x: Tensor, axis: int) -> Tensor:
    """A vector in the shape that broadcasts along an axis of `x`."""
    if vector.numel() == 1:
        return vector.reshape([]).to(torch.float32)
    shape = [1] * x.dim()
    shape[axis] = -1
    return vector.reshape(shape).to(torch.float32)


@operator("QuantizeLinear")
def build_quantize(builder: Builder, node: OnnxNode) -> Value:
    node.only("axis", "saturate")
    kind = node.source.element_type(node.name(2)) if node.given(2) else 0
    if kind not in RANGES:
        raise Unsupported("QuantizeLinear to other than eight bits with a zero point")
    least, greatest = RANGES[kind]
    inputs = (node.input(0), node.input(1), node.input(2))
    return builder.call(quantize_linear, *inputs, axis=node.attribute("axis", 1), least=least, greatest=greatest)


@operator("DequantizeLinear")
def build_dequantize(builder: Builder, node: OnnxNode) -> Value:
    node.only("axis")
    zero_point = node.input(2) if node.given(2) else None
    return builder.call(dequantize_linear, node.input(0), node.input(1), zero_point, axis=node.attribute("axis", 1))


@emits(quantize_linear, dequantize_linear)
def emit_linear(out: Emission, call: Call) -> str:
    """Axes are written where the opset knows them; scalars need none."""
    op = "QuantizeLinear" if call.node.target is quantize_linear else "DequantizeLinear"
    attributes = {"axis": call.kwargs["axis"]} if out.opset >= 13 else {}
    return out.node(op, [name for name in call.inputs if name], name=call.base, **attributes)
