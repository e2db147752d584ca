"""Embeddings: rows of a trained table at computed positions."""

import torch
from torch import Tensor, nn

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.weights import emit_weight
from core.network.registry import Call, emits
from core.network.values import Value


class Embedding(nn.Embedding):
    """Rows of the weight (rows, width); as in ONNX, negative positions count from the end, and any integer type will
    do."""

    def forward(self, input: Tensor) -> Tensor:
        positions = input.to(self.weight.device)
        positions = torch.where(positions < 0, positions + self.weight.shape[0], positions)
        return nn.functional.embedding(positions, self.weight)


def is_embedding(node: OnnxNode) -> bool:
    """Whether a Gather looks up rows of a constant float matrix."""
    if not node.is_constant(0) or node.is_constant(1) or node.attribute("axis", 0) not in (0, -2):
        return False
    table = node.tensor(0)
    return table.is_floating_point() and table.dim() == 2


def build_embedding(builder: Builder, node: OnnxNode) -> Value:
    weight = node.tensor(0)
    with torch.device("meta"):
        module = Embedding(weight.shape[0], weight.shape[1])
    module.weight = builder.parameter(node, 0, "", weight)
    return builder.module(module, node.input(1), layer=node.layer)


@emits(nn.Embedding)
def emit_embedding(out: Emission, call: Call) -> str:
    return out.node("Gather", [emit_weight(out, call, "weight"), *call.inputs], name=call.base)
