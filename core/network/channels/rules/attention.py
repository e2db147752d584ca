"""How identities of channels pass attention that is one operator.

What can go is a head, with its queries, keys and values. Heads that share keys and values (grouped queries) go
together.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import follow
from core.network.channels.identities import Ids
from core.network.channels.trace import Trace, rule
from core.network.ops import attention, attention_runtime, cached_attention

BY_QUERY = {"mask": -3, "bias": -3, "sink": -1}
"""Operands that may differ between the heads of queries, by name, and where they have these."""

BY_KEY = {"past_key": -3, "past_value": -3}
"""The same for the heads of keys and values."""


@rule(attention.attention, attention.attention_with_state)
@rule(attention_runtime.multi_head_attention, attention_runtime.multi_head_attention_with_state)
@rule(cached_attention.group_query_attention)
def pass_attention(trace: Trace, node: fx.Node) -> Any:
    q, k, v, *_ = node.args
    counts: Any = [node.kwargs.get(name, node.kwargs.get("num_heads")) for name in ("q_num_heads", "kv_num_heads")]
    queries, keys, values = (
        _heads(trace, node, x, heads) for x, heads in zip((q, k, v), (counts[0], counts[1], counts[1]), strict=True)
    )
    trace.unite(keys, values)
    trace.unite(queries, np.repeat(keys, len(queries) // len(keys)))
    _count_heads(trace, node, queries, keys)
    assert callable(node.target)
    for name, other in list(zip(signature(node.target).parameters, node.args, strict=False))[3:]:
        if isinstance(other, fx.Node):
            heads, axis = (keys, BY_KEY[name]) if name in BY_KEY else (queries, BY_QUERY.get(name))
            _beside(trace, node, other, axis, heads)
    return _outputs(trace, node, queries, keys)


def _heads(trace: Trace, node: fx.Node, x: Any, heads: int | None) -> Ids:
    """One identity for each head of (batch, heads, sequence, width) or (batch, sequence, heads * width)."""
    reason = f"{trace.name(node)} takes it straight from the model's input"
    if len(trace.shape(x)) == 4:
        trace.lock_others(x, [1], f"{trace.name(node)} contracts it")
        return trace.channel_ids(x, 1, reason)
    assert heads is not None
    trace.lock_others(x, [2], f"{trace.name(node)} walks along it")
    rows = trace.channel_ids(x, 2, reason).reshape(heads, -1)
    trace.unite(np.broadcast_to(rows[:, :1], rows.shape), rows)
    return rows[:, 0].copy()


def _count_heads(trace: Trace, node: fx.Node, queries: Ids, keys: Ids) -> None:
    for name, ids in (("q_num_heads", queries), ("kv_num_heads", keys), ("num_heads", queries)):
        if node.kwargs.get(name) is not None:
            trace.count(node, name, None, ids)


def _beside(trace: Trace, node: fx.Node, other: fx.Node, axis: int | None, heads: Ids) -> None:
    """What differs between heads is cut with them; keys and values of earlier steps can't be."""
    sizes = trace.shape(other)
    if axis is None or len(sizes) < -axis or sizes[axis] == 1:
        trace.lock_all(other, f"{trace.name(node)} reads it for all heads")
        return
    trace.lock_others(other, [axis], f"{trace.name(node)} reads it beside the heads")
    own = trace.ids(other, axis)
    if own is not None:
        trace.unite(heads, own)
    elif not follow(trace, other, axis, heads):
        trace.lock(heads, f"{trace.name(node)} reads {trace.name(other)}, which can't be cut")


def _outputs(trace: Trace, node: fx.Node, queries: Ids, keys: Ids) -> Any:
    shapes: Any = trace.shapes[node]
    if not isinstance(shapes, list):
        return _merged(shapes, queries)
    by_key = [Carrier((1,), keys)]
    return [_merged(shapes[0], queries), by_key, by_key, *([Carrier((1,), queries)] for _ in shapes[3:])]


def _merged(shape: Any, heads: Ids) -> Carried:
    """Heads along their own axis, or side by side in the last."""
    return [Carrier((1,), heads)] if len(shape) == 4 else [Carrier((2,), np.repeat(heads, shape[2] // len(heads)))]


@rule(attention.rotary_embedding, attention_runtime.rotary_embedding_at)
def pass_rotary(trace: Trace, node: fx.Node) -> Carried:
    """Turns pairs of channels within each head."""
    x = node.args[0]
    sizes = trace.shape(x)
    if len(sizes) == 4:
        trace.lock_others(x, [0, 1], f"{trace.name(node)} turns it")
        return list(trace.carriers(x))
    heads: Any = node.kwargs["num_heads"]
    if not heads or trace.carrier(x, 2) is None:
        trace.lock_all(x, f"{trace.name(node)} does not say how many heads it turns")  # pyright: ignore[reportArgumentType]  # a node
        return []
    ids = _heads(trace, node, x, heads)
    trace.count(node, "num_heads", None, ids)
    return _merged(sizes, ids)
