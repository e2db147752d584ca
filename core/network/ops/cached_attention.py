"""onnxruntime's GroupQueryAttention: the attention of causal language models, with a cache of keys and values.

Ainslie et al. 2023, arXiv:2305.13245. Every sample of a batch may have another number of tokens behind it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.attention import (
    BIASED,
    attend,
    hiding,
    merge_heads,
    per_query_head,
    rotate,
    scores_of,
    split_heads,
)
from core.network.ops.operands import optional_inputs, spread, stripped
from core.network.ops.shape import split
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

SWITCHES = ("scale", "softcap", "do_rotary", "rotary_interleaved", "local_window_size", "smooth_softmax")
INPUTS = 12
"""Those that are read here; the ones behind them belong to quantised caches and normalised heads."""


def group_query_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past_key: Tensor | None,
    past_value: Tensor | None,
    last: Tensor,
    total: Tensor,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    positions: Tensor | None = None,
    bias: Tensor | None = None,
    sink: Tensor | None = None,
    *,
    num_heads: int,
    kv_num_heads: int,
    scale: float,
    softcap: float,
    do_rotary: int,
    rotary_interleaved: int,
    local_window_size: int,
    smooth_softmax: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Each token looks at itself and at those before it.

    Args:
        q, k, v: (batch, sequence, heads * width), of the new tokens.
        past_key, past_value: (batch, kv heads, cached, width).
        last: (batch,) place of each sample's last token.
        total: how many tokens the longest sample has by now; as many as are new where there was none before.
        cos, sin: (places, pairs) for the rotation, if `do_rotary`.
        positions: (batch, sequence) where the rotation counts otherwise.
        bias: added to the scores, broadcasting against (batch, heads, sequence, total).
        sink: (heads,) a score that takes its share of the softmax and gives nothing.
        scale: 0 for 1 / sqrt(width).
        local_window_size: how many places back a token sees, itself included; -1 for all.
        smooth_softmax: a sink of score 0.

    Returns:
        (batch, sequence, heads * width), and the caches (batch, kv heads, max(cached, total), width).
    """
    q, k, v = split_heads(q, num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    length, longest = q.shape[2], int(total)
    start = torch.zeros_like(last) if length == longest else last + 1 - length
    start = start.reshape(-1, 1).to(q.device)
    places = start + torch.arange(length, device=q.device)  # (batch, sequence)
    if do_rotary and cos is not None and sin is not None:
        angles = places if positions is None else positions.to(q.device)
        turn = cos[angles].unsqueeze(1), sin[angles].unsqueeze(1)
        q, k = (rotate(x, *turn, 2 * cos.shape[-1], bool(rotary_interleaved)) for x in (q, k))
    size = longest if past_key is None else max(longest, past_key.shape[2])
    k, v = _placed(past_key, k, start, size), _placed(past_value, v, start, size)
    hides = _hiding(places, size, local_window_size, q.dtype)
    hides = hides if bias is None else hides + F.pad(bias, (0, size - bias.shape[-1]))
    if smooth_softmax and sink is None:
        sink = q.new_zeros(num_heads)
    y = _with_sink(q, k, v, hides, scale or None, softcap, sink)
    return merge_heads(y), k, v


def _placed(past: Tensor | None, new: Tensor, start: Tensor, size: int) -> Tensor:
    """The cache with the new tokens from `start` (batch, 1) on; (batch, heads, size, width)."""
    batch, heads, length, width = new.shape
    offset = torch.arange(size, device=new.device) - start  # (batch, size)
    is_new = ((offset >= 0) & (offset < length)).reshape(batch, 1, size, 1)
    index = offset.clamp(0, length - 1).reshape(batch, 1, size, 1).expand(batch, heads, size, width)
    cached = new.new_zeros([]) if past is None else F.pad(past, (0, 0, 0, size - past.shape[2]))
    return torch.where(is_new, new.gather(2, index), cached)


def _hiding(places: Tensor, size: int, window: int, kind: torch.dtype) -> Tensor:
    """(batch, 1, sequence, size) minus infinity for keys that are later, or too far back."""
    keys, queries = torch.arange(size, device=places.device), places.reshape(len(places), 1, -1, 1)
    allowed = keys <= queries
    return hiding(allowed & (keys > queries - window) if window > 0 else allowed, kind)


def _with_sink(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None, softcap: float, sink: Tensor | None
) -> Tensor:
    if sink is None:
        return attend(q, k, v, bias, scale, softcap)
    scores = scores_of(q, k, bias, scale, softcap, BIASED)
    column = sink.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    return torch.softmax(torch.cat([scores, column], -1), -1)[..., :-1] @ per_query_head(v, q)


@operator("com.microsoft.GroupQueryAttention")
def build_group_query(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only("num_heads", "kv_num_heads", *SWITCHES, "k_quant_type", "v_quant_type", "qk_output", "causal")
    quantised = {node.attribute(name, "NONE") for name in ("k_quant_type", "v_quant_type")} != {"NONE"}
    if node.count() > INPUTS or quantised or not node.attribute("causal", 1) or node.extra_outputs()[2:]:
        raise Unsupported("GroupQueryAttention with a quantised cache, normalised heads, or that looks ahead")
    heads, kv_heads = node.attribute("num_heads"), node.attribute("kv_num_heads")
    literals: dict[str, Any] = {
        "scale": node.attribute("scale", 0.0),
        "softcap": node.attribute("softcap", 0.0),
        "do_rotary": node.attribute("do_rotary", 0),
        "rotary_interleaved": node.attribute("rotary_interleaved", 0),
        "local_window_size": node.attribute("local_window_size", -1),
        "smooth_softmax": int(node.attribute("smooth_softmax", 0) == 1),
    }
    operands = optional_inputs(node, INPUTS)
    if not node.given(1):
        operands[:3] = _unpacked(builder, node, heads, kv_heads)
    results = builder.call(group_query_attention, *operands, num_heads=heads, kv_num_heads=kv_heads, **literals)
    return spread(builder, results, 3)


def _unpacked(builder: Builder, node: OnnxNode, heads: int, kv_heads: int) -> tuple[Value, ...]:
    """Queries, keys and values that lie side by side."""
    shape = node.shape(0)
    width = shape[-1] if shape is not None else None
    if not isinstance(width, int):
        raise Unsupported("GroupQueryAttention of packed values of unknown width")
    head = width // (heads + 2 * kv_heads)
    parts = builder.call(split, node.input(0), axis=-1, sizes=[heads * head, kv_heads * head, kv_heads * head])
    return spread(builder, parts, 3)


@emits(group_query_attention)
def emit_group_query(out: Emission, call: Call) -> tuple[str, ...]:
    attributes = {name: value for name, value in call.kwargs.items() if value}
    op, inputs = "GroupQueryAttention", stripped(call.inputs)
    return out.node(op, inputs, outputs=3, domain="com.microsoft", name=call.base, **attributes)
