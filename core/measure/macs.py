"""Multiply-accumulates of one execution of one node, from the shapes that it ran on.

Convolutions, matrix products, contractions, attention and recurrent cells count: half of what torch's flop counter
gives for them. Elementwise work, normalisation, softmax, pooling, resizing, look-ups and moves cost none. Masked and
padded positions count as work, since runtimes do it: causal attention counts every pair, and a recurrent cell every
step of every sequence.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from onnx import NodeProto, helper

Shape = Sequence[int]
Shapes = Sequence[Shape | None]
"""By position; None for an input or output that is left out."""

Rule = Callable[[NodeProto, Shapes, Shapes], int]


def macs_of(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """0 for operators without any to speak of."""
    rule = RULES.get(full_name(node))
    return rule(node, inputs, outputs) if rule else 0


def full_name(node: NodeProto) -> str:
    """The operator, with its domain where that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _at(shapes: Shapes, place: int) -> Shape:
    """The shape at a place; that of nothing, (0,), where the input or output is left out."""
    shape = shapes[place] if place < len(shapes) else None
    return (0,) if shape is None else shape


def _convolution(weight: int) -> Rule:
    """(out, in / groups, *kernel) weights, read once for every output element of a channel."""
    return lambda node, inputs, outputs: math.prod(_at(outputs, 0)) * math.prod(_at(inputs, weight)[1:])


def _transposed_convolution(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """(in, out / groups, *kernel) weights, spread from every input element of a channel."""
    return math.prod(_at(inputs, 0)) * math.prod(_at(inputs, 1)[1:])


def _product(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """Any batch of matrices or vectors; `transA` and its like say which axis of the first is summed over."""
    left = _at(inputs, 0)
    is_turned = attribute(node, "transA", 0) and len(left) > 1
    return math.prod(_at(outputs, 0)) * (left[-2 if is_turned else -1] if left else 1)


def _recurrent(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """Both products of every gate, direction, step and sample."""
    steps, batch = _at(inputs, 0)[:2]
    return steps * batch * (math.prod(_at(inputs, 1)) + math.prod(_at(inputs, 2)))


def _einsum(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """Operands are joined from left to right. What only one of two operands has is summed first, by additions alone;
    a join that sums over nothing is elementwise."""
    terms, result = _terms(attribute(node, "equation", b"").decode(), inputs)
    sizes = {
        name: size
        for term, shape in zip(terms, inputs, strict=True)
        for name, size in zip(term, shape or (), strict=True)
        if size != 1
    }
    joined, total = terms[0], 0
    for place, term in enumerate(terms[1:], 1):
        wanted = set(result).union(*terms[place + 1 :])
        both = set(joined) & set(term)
        kept = wanted | both
        names = (set(joined) | set(term)) & kept
        if both - wanted:
            total += math.prod(sizes.get(name, 1) for name in names)
        joined = [name for name in names if name in wanted]
    return total


def _terms(equation: str, inputs: Shapes) -> tuple[list[list[str]], list[str]]:
    """Axis names of each operand and of the result, ellipses written out from their last axis back."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_written_out(term, len(shape or ())) for term, shape in zip(left.split(","), inputs, strict=True)]
    if not arrow:
        once = sorted(name for name in set(left) - set(",.") if left.count(name) == 1)
        dots = max((t for t in terms), key=lambda t: sum(name.startswith("...") for name in t))
        return terms, [*(name for name in dots if name.startswith("...")), *once]
    dots = max(sum(name.startswith("...") for name in term) for term in terms)
    return terms, _written_out(right, len(right.replace("...", "")) + dots)


def _written_out(term: str, rank: int) -> list[str]:
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{place}" for place in range(hidden, 0, -1)), *after]


def _attention(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """ONNX's Attention: (batch, length, width) or (batch, heads, length, size) queries, keys and values."""
    query, key = _at(inputs, 0), _at(inputs, 1)
    past = _at(inputs, 4)
    return _pairs(query[0], _length(query), _length(key) + (past[2] if len(past) == 4 else 0)) * (
        _width(query) + _width(_at(outputs, 0))
    )


def _multi_head_attention(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """onnxruntime's MultiHeadAttention: as ONNX's, or packed as (batch, length, heads, 2 or 3, size)."""
    query, key, past = _at(inputs, 0), _at(inputs, 1), _at(inputs, 6)
    width = query[2] * query[4] if len(query) == 5 else _width(query)
    length = query[1] if len(query) == 5 else _length(query)
    if len(query) == 5:
        keys = length
    else:
        keys = key[1] if len(key) == 5 else _length(key)
    keys += past[2] if len(past) == 4 else 0
    return _pairs(query[0], length, keys) * (width + _width(_at(outputs, 0)))


def _grouped_attention(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """onnxruntime's GroupQueryAttention; every query head works, however few heads the keys have."""
    batch, length, width = _at(outputs, 0)
    present = _at(outputs, 1)
    keys = present[2] if len(present) == 4 else _length(_at(inputs, 1))
    return _pairs(batch, length, keys) * 2 * width


def _projecting_attention(past: int) -> Rule:
    """onnxruntime's Attention: (batch, length, in) inputs, one (in, queries + keys + values) weight."""

    def rule(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
        (batch, length, _), weight = _at(inputs, 0), _at(inputs, 1)
        sizes = attribute(node, "qkv_hidden_sizes", None) or [weight[1] // 3] * 3
        before = _at(inputs, past)
        keys = length + (before[3] if len(before) == 5 else 0)
        return batch * length * math.prod(weight) + _pairs(batch, length, keys) * (sizes[0] + sizes[2])

    return rule


def _linear_attention(node: NodeProto, inputs: Shapes, outputs: Shapes) -> int:
    """Each step adds an outer product per group of keys; every query reads the sum, and in a delta rule every key."""
    (batch, length, queries), values = _at(inputs, 0), _at(inputs, 2)
    heads, groups = attribute(node, "q_num_heads", 1), attribute(node, "kv_num_heads", 1)
    is_corrected = b"delta" in attribute(node, "update_rule", b"gated_delta")
    reads = heads + (groups if is_corrected else 0)
    return batch * length * (queries // heads) * (values[2] // groups) * (groups + reads)


def _pairs(batch: int, queries: int, keys: int) -> int:
    return batch * queries * keys


def _length(shape: Shape) -> int:
    return shape[2] if len(shape) == 4 else shape[1]


def _width(shape: Shape) -> int:
    """Of all heads together."""
    return shape[1] * shape[3] if len(shape) == 4 else shape[2]


RULES: dict[str, Rule] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "DeformConv": _convolution(1),
    "com.microsoft.FusedConv": _convolution(1),
    "ConvTranspose": _transposed_convolution,
    **dict.fromkeys(("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"), _product),
    **{
        f"com.microsoft.{name}": _product
        for name in (
            *("FusedMatMul", "FusedGemm", "QGemm", "MatMulNBits", "MatMulBnb4"),
            *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger16"),
        )
    },
    **dict.fromkeys(("LSTM", "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM"), _recurrent),
    "CausalConvWithState": _convolution(1),
    "LinearAttention": _linear_attention,
    "Einsum": _einsum,
    "Attention": _attention,
    "com.microsoft.MultiHeadAttention": _multi_head_attention,
    "com.microsoft.GroupQueryAttention": _grouped_attention,
    "com.microsoft.Attention": _projecting_attention(4),
    "com.microsoft.QAttention": _projecting_attention(8),
}
"""By operator, with its domain where that is not ONNX's own."""
