"""Which constants are parameters, and what each node holds of them.

A parameter is an element that training would change: of weights, biases, scales of a normalisation, look-up tables,
one-axis operands of arithmetic, tables that are added or joined and look trained (`core/network/tables.py`), and any
floating constant of an operator that runs opaquely. Running statistics, initial states of recurrent cells and
quantisers' scales and zero points are none. A rounded weight counts as what it unfolds to, and a tie once, at the first
node that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from core.measure.macs import attribute, full_name
from core.measure.scopes import Scope
from core.network import ops  # noqa: F401  it registers what is native
from core.network.packed import split_bits
from core.network.registry import is_native
from core.network.sizes import BITS, elements
from core.network.tables import MOVES, PICKS, long_axes, looks_trained

OWNERS = {
    *("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"),
    *("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"),
    *("RMSNormalization", "SimplifiedLayerNormalization", "PRelu"),
    *("com.microsoft." + name for name in ("Attention", "MultiHeadAttention", "BiasGelu", "FastGelu")),
    *("com.microsoft." + name for name in ("FusedConv", "FusedMatMul", "FusedGemm", "EmbedLayerNormalization")),
    *("com.microsoft." + name for name in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")),
}
"""Operators that own every floating constant they read, however small."""

NOT_TRAINED = {"BatchNormalization": {3, 4}, "LSTM": {5, 6}, "GRU": {5}, "RNN": {5}}
"""Inputs that are statistics or states."""

ONLY = {
    "Gather": {0},
    "QLinearConv": {3, 8},
    "QLinearMatMul": {3},
    "ConvInteger": {1},
    "MatMulInteger": {1},
    "com.microsoft.QGemm": {3, 6},
    "com.microsoft.MatMulIntegerToFloat": {1, 6},
    "com.microsoft.DynamicQuantizeMatMul": {1, 4},
    "com.microsoft.DynamicQuantizeLSTM": {1, 2, 3, 7},
    "com.microsoft.QAttention": {1, 2},
    "com.microsoft.MatMulNBits": {1, 5},
}
"""Operators of which only these inputs are parameters; integers count there too."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean"}
"""Operators whose constants are parameters where they have one axis longer than 1."""

TABLES = {"Add", "Sub", "Concat", "Expand", "Tile", "Slice"}
"""Operators whose constants are parameters where the file stores them and they look trained."""

NONE = {"QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan"}
"""Operators whose own constants are none: scales, zero points, counts and first states."""

Key = tuple[Scope, str]


@dataclass
class Holding:
    """What one node of the main graph, with the graphs inside it, holds that no node before it did.

    Attributes:
        parameters: how many elements.
        nonzeros: how many of them are not zero.
        bytes: of the tensors that the file stores for them and for everything else that is constant to the node.
        uses: the parameters' places, those that earlier nodes hold included.
    """

    parameters: int = 0
    nonzeros: int = 0
    bytes: int = 0
    is_finite: bool = True
    uses: list[Key] = field(default_factory=list)


def holdings(scopes: list[Scope], live: set[int]) -> dict[int, Holding]:
    """By index of the node in the main graph, for nodes that hold any parameters, in order.

    Args:
        live: indices of the main graph's nodes that the outputs depend on.
    """
    held: dict[int, Holding] = {}
    counted: set[Key] = set()
    stored: set[Key] = set()
    for owner, scope, node in _in_order(scopes, live):
        places = [(place, name) for place, name in enumerate(node.input) if name and scope.is_constant(name)]
        mine = [(place, name) for place, name in places if _may_be(node, place)]
        values = _values(scope, node, mine)
        for _, name in mine:
            value = values.get(name)
            if value is None or not _is_parameter(node, value, _is_stored(scope, name)):
                continue
            entry = held.setdefault(owner, Holding())
            key = origin(scope, name)
            entry.uses.append(key)
            if key not in counted:
                counted.add(key)
                _add(entry, value)
        if owner in held:
            tensors = {k: v for _, name in places for k, v in scope.stored(name).items() if k not in stored}
            held[owner].bytes += sum(stored_bytes(tensor) for tensor in tensors.values())
            stored.update(tensors)
    return dict(sorted(held.items()))


def _in_order(scopes: list[Scope], live: set[int]) -> Iterator[tuple[int, Scope, NodeProto]]:
    """Nodes that run, with the main graph's node that each belongs to, in the main graph's order."""
    inside: dict[int, list[Scope]] = {}
    for scope in scopes[1:]:
        inside.setdefault(scope.owner, []).append(scope)
    main = scopes[0]
    for index, node in enumerate(main.nodes):
        if index not in live or main.is_folded(index):
            continue
        yield index, main, node
        for scope in inside.get(index, ()):
            yield from ((index, scope, inner) for place, inner in enumerate(scope.nodes) if not scope.is_folded(place))


def _may_be(node: NodeProto, place: int) -> bool:
    """What can be told without the value."""
    name = full_name(node)
    if name in ONLY:
        return place in ONLY[name]
    if name in NONE or place in NOT_TRAINED.get(name, ()):
        return False
    return name in OWNERS or name in ARITHMETIC or name in TABLES or not is_native(node)


def _is_parameter(node: NodeProto, value: np.ndarray, is_stored: bool) -> bool:
    name = full_name(node)
    is_floating = value.dtype.name.startswith(("float", "bfloat"))
    if name == "Gather":
        return is_floating and value.ndim > 1
    if name in ONLY:
        return True
    if not is_floating:
        return False
    if name == "Einsum" or (name == "MatMul" and value.ndim > 2):  # else rotary frequencies
        return long_axes(value) > 1
    if name in OWNERS or (name in ARITHMETIC and long_axes(value) == 1):
        return True
    if name in TABLES:
        return is_stored and looks_trained(value)
    return name not in ARITHMETIC and value.size > 1


def _values(scope: Scope, node: NodeProto, places: list[tuple[int, str]]) -> dict[str, np.ndarray]:
    """Constants unfolded, by name."""
    found: dict[str, np.ndarray] = {}
    for _, name in places:
        home = scope.home(name)
        if home is not None and name in home.initializers:
            found[name] = numpy_helper.to_array(home.initializers[name])
    found |= scope.computed(sorted({name for _, name in places} - set(found)))
    if full_name(node) == "com.microsoft.MatMulNBits" and node.input[1] in found:
        found[node.input[1]] = _unpacked(node, scope, found[node.input[1]])
    return found


def _unpacked(node: NodeProto, scope: Scope, packed: np.ndarray) -> np.ndarray:
    """(N, K) steps from the zero point of MatMulNBits' (N, blocks, bytes) weight.

    The zero point is the middle of the range unless the node has others, (N, blocks) packed alike.
    """
    bits, columns = attribute(node, "bits", 4), attribute(node, "K", 0)
    rows, blocks = packed.shape[:2]
    steps = split_bits(packed.reshape(rows, blocks, -1), bits).astype(np.int64)  # (N, blocks, block_size)
    zero = np.full((rows, blocks), 2 ** (bits - 1))
    name = node.input[3] if len(node.input) > 3 else ""
    if name and scope.is_constant(name):
        given = _values(scope, NodeProto(), [(3, name)])[name]
        integers = given if given.dtype.kind == "f" else split_bits(given.reshape(rows, -1), bits)
        zero = integers[:, :blocks]
    return (steps - zero[:, :, None]).reshape(rows, -1)[:, :columns]


def _add(entry: Holding, value: np.ndarray) -> None:
    entry.parameters += value.size
    entry.nonzeros += int(np.count_nonzero(value))
    entry.is_finite &= value.dtype.kind != "f" or bool(np.isfinite(value).all())


def _is_stored(scope: Scope, name: str) -> bool:
    """Whether a constant is an initialiser or a part of one, at most moved about."""
    home, root = origin(scope, name, PICKS)
    return root in home.initializers


def origin(scope: Scope, name: str, through: Set[str] = MOVES) -> Key:
    """The value that a constant is a mere move of."""
    home = scope.home(name)
    while home is not None and name in home.producer:
        node = home.nodes[home.producer[name]]
        if node.op_type not in through:
            break
        name = node.input[0]
        home = home.home(name)
    return home or scope, name


def stored_bytes(tensor: TensorProto) -> int:
    """As the file packs it."""
    return (elements(tensor) * BITS.get(tensor.data_type, 0) + 7) // 8
