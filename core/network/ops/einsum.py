"""Einsum: a sum of products over axes that are named by letters."""

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.values import Value


def einsum(*operands: Tensor, equation: str) -> Tensor:
    """`equation` has no blanks; an ellipsis stands for axes that broadcast."""
    return torch.einsum(equation, *operands)


@operator("Einsum")
def build_einsum(builder: Builder, node: OnnxNode) -> Value:
    node.only("equation")
    return builder.call(einsum, *node.inputs(), equation="".join(node.attribute("equation").split()))


@emits(einsum)
def emit_einsum(out: Emission, call: Call) -> str:
    return out.node("Einsum", call.inputs, name=call.base, equation=call.kwargs["equation"])
