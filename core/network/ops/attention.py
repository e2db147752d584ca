"""Scaled dot-product attention of heads, and the rotation that tells it positions.

Vaswani et al. 2017, arXiv:1706.03762; grouped queries: Ainslie et al. 2023, arXiv:2305.13245; rotary embeddings:
Su et al. 2021, arXiv:2104.09864. Heads are an axis of their own, (batch, heads, sequence, width), or lie side by
side in the last axis, (batch, sequence, heads * width), as the literals `q_num_heads` and `kv_num_heads` then say.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

INFINITE = float("-inf")
RAW, CAPPED, BIASED, SOFT = range(4)
"""Which stage of the scores `attention_with_state` gives out, as ONNX numbers them."""


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    q_num_heads: int | None,
    kv_num_heads: int | None,
    scale: float | None,
    softcap: float = 0.0,
    is_causal: int = 0,
    window: tuple[int, int] = (-1, -1),
) -> Tensor:
    """ONNX's Attention; see `attention_with_state`, of which this is the first output."""
    is_flat = q.dim() == 3
    q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    k, v = joined(past_key, k), joined(past_value, v)
    bias = attention_bias(q, k, mask, past_key, lengths, is_causal, window)
    y = attend(q, k, v, bias, scale, softcap)
    return merge_heads(y) if is_flat else y


def attention_with_state(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    q_num_heads: int | None,
    kv_num_heads: int | None,
    scale: float | None,
    softcap: float = 0.0,
    is_causal: int = 0,
    window: tuple[int, int] = (-1, -1),
    stage: int = RAW,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ONNX's Attention with all its outputs.

    Args:
        mask: broadcasts against (batch, heads, queries, keys); True or an addend of 0 where a query may look. One
            that is shorter than the keys hides the rest.
        past_key, past_value: (batch, kv heads, past, width), put before `k` and `v`.
        lengths: (batch,) how many keys count, where the rest is padding.
        scale: of the products; 1 / sqrt(width) if None.
        softcap: if not 0, scores s become softcap * tanh(s / softcap).
        is_causal: a query looks at no later key; queries stand behind the past.
        window: how many keys a query sees before and behind its own place; -1 for all.
        stage: RAW, CAPPED, BIASED or SOFT scores.

    Returns:
        Output, keys and values with their past, and scores (batch, heads, queries, keys).
    """
    is_flat = q.dim() == 3
    q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    k, v = joined(past_key, k), joined(past_value, v)
    bias = attention_bias(q, k, mask, past_key, lengths, is_causal, window)
    scores = scores_of(q, k, bias, scale, softcap, stage)
    y = attend(q, k, v, bias, scale, softcap)
    return merge_heads(y) if is_flat else y, k, v, scores


def split_heads(x: Tensor, heads: int | None) -> Tensor:
    """(batch, heads, sequence, width) from (batch, sequence, heads * width), or as it is."""
    return x if x.dim() == 4 or heads is None else x.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def joined(past: Tensor | None, present: Tensor) -> Tensor:
    return present if past is None else torch.cat([past, present], dim=2)


def attention_bias(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    lengths: Tensor | None,
    is_causal: int,
    window: tuple[int, int],
) -> Tensor | None:
    """What is added to the scores: minus infinity where a query may not look; None where it may everywhere."""
    keys = torch.arange(k.shape[2], device=q.device)
    queries = torch.arange(q.shape[2], device=q.device).unsqueeze(1) + _offset(q, past, lengths)
    allowed = [queries >= keys] if is_causal else []
    allowed += [queries - keys <= window[0]] if window[0] >= 0 else []
    allowed += [keys - queries <= window[1]] if window[1] >= 0 else []
    allowed += [keys < lengths.to(q.device).reshape(-1, 1, 1, 1)] if lengths is not None else []
    addends = [hiding(one, q.dtype) for one in allowed]
    if mask is not None:
        addends.append(_padded(hiding(mask, q.dtype) if mask.dtype == torch.bool else mask, k.shape[2]).to(q.device))
    return sum(addends[1:], addends[0]) if addends else None


def hiding(allowed: Tensor, kind: torch.dtype) -> Tensor:
    """0 where something is allowed, minus infinity elsewhere."""
    return torch.zeros(allowed.shape, dtype=kind, device=allowed.device).masked_fill(~allowed, INFINITE)


def _offset(q: Tensor, past: Tensor | None, lengths: Tensor | None) -> Tensor | int:
    """Place of the first query among the keys; (batch, 1, 1, 1) where it differs from sample to sample."""
    if past is not None:
        return past.shape[2]
    return 0 if lengths is None else lengths.to(q.device).reshape(-1, 1, 1, 1) - q.shape[2]


def _padded(mask: Tensor, keys: int) -> Tensor:
    short = keys - mask.shape[-1]
    return F.pad(mask, (0, short), value=INFINITE) if short > 0 else mask


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None, softcap: float = 0.0) -> Tensor:
    """Softmax of the scores times the values; a query that may look nowhere gets zeros. (batch, heads, queries, width)

    Args:
        k, v: with as many heads as `q`, or fewer, each of which then serves several in a row.
    """
    k, v = per_query_head(k, q), per_query_head(v, q)
    blind = None if bias is None else is_blind(bias)
    if bias is not None and blind is not None:
        bias = bias.masked_fill(blind, 0.0)
    if softcap:
        y = torch.softmax(scores_of(q, k, bias, scale, softcap, BIASED), -1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
    return y if blind is None else y.masked_fill(blind, 0.0)


def scores_of(q: Tensor, k: Tensor, bias: Tensor | None, scale: float | None, softcap: float, stage: int) -> Tensor:
    """(batch, heads, queries, keys) at one of the stages."""
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ per_query_head(k, q).transpose(-1, -2) * factor
    if softcap and stage != RAW:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is None or stage in (RAW, CAPPED):
        return torch.softmax(scores, -1) if stage == SOFT else scores
    if stage == BIASED:
        return scores + bias
    blind = is_blind(bias)
    return torch.softmax(scores + bias.masked_fill(blind, 0.0), -1).masked_fill(blind, 0.0)


def is_blind(bias: Tensor) -> Tensor:
    """(..., queries, 1) whether a query may look nowhere; the softmax of such a row has no gradient."""
    return bias.amax(-1, keepdim=True) == INFINITE


def per_query_head(x: Tensor, q: Tensor) -> Tensor:
    """Heads repeated in place so that there is one for each head of `q`."""
    return x if x.shape[1] == q.shape[1] else x.repeat_interleave(q.shape[1] // x.shape[1], dim=1)


def rotary_embedding(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None = None,
    *,
    num_heads: int,
    rotary_dim: int,
    interleaved: int,
) -> Tensor:
    """Pairs of channels turned by an angle that grows with the position.

    Args:
        x: (batch, heads, sequence, width), or (batch, sequence, heads * width) with `num_heads`.
        cos, sin: of the angles: (positions, pairs) with `positions` (batch, sequence) or a first position (1,);
            without them (batch, sequence, pairs).
        num_heads: 0 to take the width of a head from the number of pairs.
        rotary_dim: how many channels of each head turn, the first ones; 0 for all.
        interleaved: whether a pair are neighbours; else they lie half the turning channels apart.
    """
    heads = num_heads or (1 if x.dim() == 4 else x.shape[-1] // (2 * cos.shape[-1]))
    parts = split_heads(x, heads)  # (batch, heads, sequence, width)
    if positions is not None:
        places = positions.to(x.device)
        if places.numel() == 1 and places.dim() == 1:
            places = places + torch.arange(parts.shape[2], device=x.device).unsqueeze(0)
        cos, sin = cos[places], sin[places]
    turned = rotate(parts, cos.unsqueeze(1), sin.unsqueeze(1), rotary_dim or parts.shape[-1], bool(interleaved))
    return turned if x.dim() == 4 else merge_heads(turned)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, width: int, interleaved: bool) -> Tensor:
    """The first `width` channels of the last axis turned in pairs; `cos` and `sin` are (..., sequence, width / 2)."""
    turning, still = x[..., :width], x[..., width:]
    a, b = (turning[..., 0::2], turning[..., 1::2]) if interleaved else turning.chunk(2, dim=-1)
    real, imaginary = cos * a - sin * b, sin * a + cos * b
    if interleaved:
        return torch.cat([torch.stack([real, imaginary], -1).flatten(-2), still], -1)
    return torch.cat([real, imaginary, still], -1)
