"""Names: of layers, as `inspect` prints them, and of attributes and fx nodes, where only some characters may stand."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping
from keyword import iskeyword

from onnx import NodeProto, TensorProto
from torch import fx, nn

from core.network.source import Source

WEIGHTED = {
    "Conv": 1,
    "ConvTranspose": 1,
    "DeformConv": 1,
    "Gemm": 1,
    "MatMul": 1,
    "BatchNormalization": 1,
    "LayerNormalization": 1,
    "Gather": 0,
    "RNN": 1,
    "GRU": 1,
    "LSTM": 1,
    "GroupNormalization": 1,
    "RMSNormalization": 1,
    "SimplifiedLayerNormalization": 1,
    "SkipLayerNormalization": 2,
    "SkipSimplifiedLayerNormalization": 2,
    "FusedConv": 1,
    "FusedGemm": 1,
    "FusedMatMul": 1,
    "TransposeMatMul": 1,
    "MatMulNBits": 1,
    "Attention": 1,
    "Einsum": 1,
}
"""Operators that own weights, and at which input the weight is; a product may have it at the other."""

KINDS = {
    "FusedConv": "Conv",
    "FusedGemm": "Gemm",
    "FusedMatMul": "MatMul",
    "TransposeMatMul": "MatMul",
    "MatMulNBits": "MatMul",
    "Attention": "MatMul",
    "Einsum": "MatMul",
    "SimplifiedLayerNormalization": "RMSNormalization",
    "SkipLayerNormalization": "LayerNormalization",
    "SkipSimplifiedLayerNormalization": "RMSNormalization",
}
"""The kind of layer that a fused operator holds, where it has another name."""

RESERVED = frozenset({"self", *dir(fx.GraphModule(nn.Module(), fx.Graph()))})
"""Attributes of every module (`forward`, `training`, `graph`, ...), and what generated code calls it."""

DOMAINS = ("", "ai.onnx", "com.microsoft")
SUFFIX = ".weight"
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def layer_names(source: Source) -> dict[int, str]:
    """Name of each layer by the index of its source node.

    A weight called `conv1.weight` and used once gives `conv1`; else the node's name; else operator and number.
    """
    weights = {
        index: weight
        for index, node in enumerate(source.nodes)
        if node.op_type in WEIGHTED and node.domain in DOMAINS and (weight := _weight(source, node)) is not None
    }
    uses = Counter(weights.values())
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index, weight in weights.items():
        node = source.nodes[index]
        number = seen[node.op_type]
        seen[node.op_type] += 1
        if weight.endswith(SUFFIX) and len(weight) > len(SUFFIX) and uses[weight] == 1:
            wanted = weight.removesuffix(SUFFIX)
        else:
            wanted = node.name or f"{node.op_type}_{number}"
        names[index] = unique(wanted, taken)
    return names


def node_name(source: Source, names: Mapping[int, str], index: int) -> str:
    """How a node is called that may be no layer: as its author did, or as what it makes.

    Args:
        names: of the layers.
    """
    node = source.nodes[index]
    return names.get(index) or node.name or next(filter(None, node.output))


def _weight(source: Source, node: NodeProto) -> str | None:
    """The name of the weight that a node owns."""
    positions = [WEIGHTED[node.op_type]] + ([0] if node.op_type in ("MatMul", "Gemm") else [])
    names = [node.input[position] for position in positions if position < len(node.input)]
    found = next((name for name in names if name in source.constants), None)
    return found if node.op_type != "Gather" or _looks_up(source, node) else None


def _looks_up(source: Source, node: NodeProto) -> bool:
    """Whether a Gather is an embedding: of a float matrix, at computed positions."""
    table = source.initializers.get(node.input[0])
    shape = source.shape(node.input[0]) if table is None else table.dims
    is_matrix = shape is not None and len(shape) == 2 and source.element_type(node.input[0]) in FLOATS
    return is_matrix and node.input[1] not in source.constants


def unique(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a free number behind it, the first one where they were given in order; taken from now on."""
    name = wanted if wanted not in taken else f"{wanted}_{_free_number(wanted, taken)}"
    taken.add(name)
    return name


def _free_number(wanted: str, taken: set[str]) -> int:
    """By doubling and halving: a file may call 100,000 nodes the same."""
    beyond = 1
    while f"{wanted}_{beyond}" in taken:
        beyond *= 2
    return bisect(range(beyond), False, lo=beyond // 2 + 1, key=lambda number: f"{wanted}_{number}" not in taken)


def tell_apart(nodes: Iterable[NodeProto]) -> None:
    """Give nodes names of their own, as onnxruntime asks; those that are called after their outputs give way."""
    taken: set[str] = set()
    for node in sorted(nodes, key=lambda node: node.name in node.output):
        if node.name:
            node.name = unique(node.name, taken)


def attribute_name(wanted: str, taken: set[str]) -> str:
    """A flat attribute name made of letters, digits and underscores that Python and torch do not use, not yet taken."""
    flat = re.sub(r"\W", "_", wanted, flags=re.ASCII).strip("_") or "value"
    if flat[0].isdigit() or flat in RESERVED or iskeyword(flat):
        flat = f"n{flat}"
    return unique(flat, taken)
