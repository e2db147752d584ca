"""Attention as onnxruntime's own operators say it: MultiHeadAttention, Attention of packed weights, RotaryEmbedding."""

from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import add
from core.network.ops.attention import attend, hiding, joined, merge_heads, rotary_embedding, split_heads
from core.network.ops.attention_files import rotary_attributes
from core.network.ops.linear import linear
from core.network.ops.operands import optional_inputs, read_outputs, spread, stripped
from core.network.ops.shape import concat, gather, split, unsqueeze
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value

RUNTIME = "com.microsoft"
HIDDEN = -10000.0
"""What onnxruntime adds to the scores of padding, unless told otherwise."""


def multi_head_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding: Tensor | None = None,
    bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    num_heads: int,
    scale: float | None,
    unidirectional: int,
    hidden: float,
) -> Tensor:
    """onnxruntime's MultiHeadAttention; see `multi_head_attention_with_state`, of which this is the first output."""
    q, k, v = (split_heads(x, num_heads) for x in (q, k, v))
    k, v = joined(past_key, k), joined(past_value, v)
    mask = _mask(q, k, padding, bias, hidden)
    if unidirectional:
        order = _order(q, k, past_key)
        mask = order if mask is None else mask + order
    return merge_heads(attend(q, k, v, mask, scale))


def _order(q: Tensor, k: Tensor, past: Tensor | None) -> Tensor:
    """(queries, keys) minus infinity at keys behind a query's own place; the last query sees all in onnxruntime."""
    queries = torch.arange(q.shape[2], device=q.device).unsqueeze(1)
    start = 0 if past is None else past.shape[2]
    seen = (torch.arange(k.shape[2], device=q.device) <= queries + start) | (queries == q.shape[2] - 1)
    return hiding(seen, q.dtype)


def multi_head_attention_with_state(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding: Tensor | None = None,
    bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    num_heads: int,
    scale: float | None,
    unidirectional: int,
    hidden: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """onnxruntime's MultiHeadAttention.

    Args:
        q, k, v: (batch, sequence, heads * width); `k` and `v` may be (batch, heads, sequence, width).
        padding: 0 where a key is padding, (batch, keys) or (batch, queries, keys); or (batch,) numbers of keys.
        bias: added to the scores, broadcasting against (batch, heads, queries, keys).
        past_key, past_value: (batch, heads, past, width).
        unidirectional: a query looks at no later key, but for the last one.
        hidden: what is added to the scores of padding.

    Returns:
        (batch, queries, heads * width), and keys and values with their past.
    """
    y = multi_head_attention(
        *(q, k, v, padding, bias, past_key, past_value),
        num_heads=num_heads,
        scale=scale,
        unidirectional=unidirectional,
        hidden=hidden,
    )
    return y, joined(past_key, split_heads(k, num_heads)), joined(past_value, split_heads(v, num_heads))


def _mask(q: Tensor, k: Tensor, padding: Tensor | None, bias: Tensor | None, hidden: float) -> Tensor | None:
    """The addend that padding and a bias make."""
    if padding is None:
        return bias
    padding = padding.to(q.device)
    if padding.dim() == 1:
        padding = torch.arange(k.shape[2], device=q.device) < padding.unsqueeze(1)
    shape = (padding.shape[0], 1, -1, padding.shape[-1])
    addend = torch.where(padding.reshape(shape) > 0, 0.0, hidden).to(q.dtype)
    return addend if bias is None else addend + bias


@operator("com.microsoft.MultiHeadAttention")
def build_multi_head(builder: Builder, node: OnnxNode) -> Value | tuple[Value, ...]:
    """The bias of the projections is added before."""
    node.only("num_heads", "scale", "unidirectional", "mask_filter_value")
    if node.count() > 8 or node.rank(0) != 3 or not (node.given(1) and node.given(2)) or node.extra_outputs()[2:]:
        raise Unsupported("MultiHeadAttention of packed values, with a shared buffer, or whose scores are used")
    if node.rank(1) not in (3, 4):
        raise Unsupported("MultiHeadAttention of packed keys and values")
    operands: list[Any] = [*(node.input(position) for position in range(3)), *optional_inputs(node, 8)[4:]]
    if node.given(3):
        operands[:3] = _biased(builder, node, operands[:3])
    _check_padding(node, 4)
    return _attention(builder, node, operands)


def _biased(builder: Builder, node: OnnxNode, values: list[Value]) -> list[Value]:
    """Queries, keys and values plus their parts of one bias."""
    shapes = [node.shape(position) for position in range(3)]
    widths = [shape[-1] if shape is not None and len(shape) == 3 else None for shape in shapes]
    if not all(isinstance(width, int) for width in widths):
        raise Unsupported(f"{node.op} with a bias of values of unknown width")
    parts = _split(builder, node.input(3), [width for width in widths if isinstance(width, int)], axis=0)
    return [builder.call(add, value, part) for value, part in zip(values, parts, strict=True)]


def _split(builder: Builder, value: Value, sizes: list[int], axis: int) -> tuple[Value, ...]:
    return spread(builder, builder.call(split, value, axis=axis, sizes=sizes), len(sizes))


def _check_padding(node: OnnxNode, position: int) -> None:
    """A vector must count the keys of each sample; onnxruntime takes starts and ends as well."""
    if not node.given(position):
        return
    shape, batch = node.shape(position), (node.shape(0) or [None])[0]
    if shape is None or len(shape) not in (1, 2, 3) or (len(shape) == 1 and (batch is None or shape[0] != batch)):
        raise Unsupported(f"{node.op} with a mask of shape {shape}")


def _attention(builder: Builder, node: OnnxNode, operands: list[Any]) -> Value | tuple[Value, ...]:
    literals = {
        "num_heads": node.attribute("num_heads"),
        "scale": node.attribute("scale"),
        "unidirectional": node.attribute("unidirectional", 0),
        "hidden": node.attribute("mask_filter_value", HIDDEN),
    }
    if not node.extra_outputs():
        return builder.call(multi_head_attention, *operands, **literals)
    return spread(builder, builder.call(multi_head_attention_with_state, *operands, **literals), 3)


@operator("com.microsoft.Attention")
def build_packed(builder: Builder, node: OnnxNode) -> Value | tuple[Value, ...]:
    """One linear layer makes queries, keys and values; their past is one tensor, keys first."""
    node.only("num_heads", "scale", "unidirectional", "mask_filter_value", "qkv_hidden_sizes")
    if not node.is_constant(1) or not (node.is_constant(2) or not node.given(2)) or node.given(6):
        raise Unsupported("Attention with computed weights or with a shared buffer")
    _check_padding(node, 3)
    weight = node.tensor(1)
    bias = node.tensor(2) if node.given(2) else None
    packed = linear(builder, node, node.input(0), "transposed", weight.T, bias)
    sizes = node.attribute("qkv_hidden_sizes", [weight.shape[1] // 3] * 3)
    mask, extra = (node.input(position) if node.given(position) else None for position in (3, 5))
    past = [None, None]
    if node.given(4):
        past = [builder.call(gather, node.input(4), Constant(torch.tensor(k), ""), axis=0) for k in (0, 1)]
    results = _attention(builder, node, [*_split(builder, packed, sizes, axis=-1), mask, extra, *past])
    if not isinstance(results, tuple):
        return results
    present = [builder.call(unsqueeze, state, axes=[0]) for state in results[1:]]
    return results[0], builder.call(concat, *present, axis=0)


@emits(multi_head_attention, multi_head_attention_with_state)
def emit_multi_head(out: Emission, call: Call) -> str | tuple[str, ...]:
    literals, op = call.kwargs, "MultiHeadAttention"
    attributes: dict[str, Any] = {
        name: literals[name] for name in ("num_heads", "scale", "unidirectional") if literals[name]
    }
    if literals["hidden"] != HIDDEN:
        attributes["mask_filter_value"] = literals["hidden"]
    inputs = [*call.inputs[:3], "", *call.inputs[3:]]
    if call.node.target is multi_head_attention:
        return out.node(op, stripped(inputs), domain=RUNTIME, name=call.base, **attributes)
    return read_outputs(out, call, op, 3, inputs=inputs, domain=RUNTIME, **attributes)


@operator("com.microsoft.RotaryEmbedding")
def build_rotary(builder: Builder, node: OnnxNode) -> Value:
    """Its positions come second."""
    node.only("interleaved", "num_heads", "rotary_embedding_dim", "scale", "is_packed_batching")
    if node.attribute("scale", 1.0) != 1.0 or node.attribute("is_packed_batching", 0):
        raise Unsupported("RotaryEmbedding scaled, or of batches packed into one")
    x, positions, cos, sin = node.inputs()
    return builder.call(
        rotary_embedding_at,
        *(x, positions, cos, sin),
        num_heads=node.attribute("num_heads", 0),
        rotary_dim=node.attribute("rotary_embedding_dim", 0),
        interleaved=node.attribute("interleaved", 0),
    )


def rotary_embedding_at(
    x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, *, num_heads: int, rotary_dim: int, interleaved: int
) -> Tensor:
    """onnxruntime's RotaryEmbedding; see `rotary_embedding`."""
    literals = {"num_heads": num_heads, "rotary_dim": rotary_dim, "interleaved": interleaved}
    return rotary_embedding(x, cos, sin, positions, **literals)


@emits(rotary_embedding_at)
def emit_rotary_at(out: Emission, call: Call) -> str:
    return out.node("RotaryEmbedding", call.inputs, domain=RUNTIME, name=call.base, **rotary_attributes(call))
