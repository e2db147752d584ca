"""Functions of integers bit by bit."""

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import join
from core.network.ops.simple import broadcasting
from core.network.registry import BROADCASTING, ELEMENTWISE, Call, emits, operator
from core.network.unsigned import check_wraps
from core.network.values import Value


def bitwise_and(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.bitwise_and, a, b)


def bitwise_or(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.bitwise_or, a, b)


def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    return join(torch.bitwise_xor, a, b)


def bit_shift(a: Tensor, b: Tensor, *, direction: str) -> Tensor:
    return join(torch.bitwise_left_shift if direction == "LEFT" else torch.bitwise_right_shift, a, b)


broadcasting("BitwiseAnd", bitwise_and)
broadcasting("BitwiseOr", bitwise_or)
broadcasting("BitwiseXor", bitwise_xor)
BROADCASTING.add(bit_shift)
ELEMENTWISE.add(torch.bitwise_not)


@operator("BitwiseNot")
def build_not(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(torch.bitwise_not, node.input(0))


@operator("BitShift")
def build_shift(builder: Builder, node: OnnxNode) -> Value:
    direction = node.attribute("direction")
    if direction == "LEFT":
        check_wraps(f"{node.op} to the left", {node.source.element_type(node.name(0))})
    return builder.call(bit_shift, node.input(0), node.input(1), direction=direction)


@emits(torch.bitwise_not)
def emit_not(out: Emission, call: Call) -> str:
    return out.node("BitwiseNot", call.inputs, name=call.base)


@emits(bit_shift)
def emit_shift(out: Emission, call: Call) -> str:
    return out.node("BitShift", call.inputs, name=call.base, direction=call.kwargs["direction"])
