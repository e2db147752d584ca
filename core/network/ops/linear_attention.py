"""Attention with a state of one size for any length of sequence, and the causal convolution in front of it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import optional_inputs, read_outputs, spread
from core.network.registry import ARITHMETIC, PRODUCTS, Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

RULES = ("linear", "gated", "delta", "gated_delta")
ACTIVATIONS = ("none", "silu", "swish")


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past: Tensor | None = None,
    decay: Tensor | None = None,
    rate: Tensor | None = None,
    *,
    heads: int,
    groups: int,
    scale: float,
    rule: str,
) -> tuple[Tensor, Tensor]:
    """What each query reads from a sum of outer products of the keys and values so far, and that sum at the end.

    Yang et al. 2024, "Gated Delta Networks: Improving Mamba2 with Delta Rule", arXiv:2412.06464, section 3; `linear`,
    `gated` and `delta` leave out parts of it.

    Args:
        q: (n, length, heads * size).
        k: (n, length, groups * size); as many query heads share each of the groups.
        v: (n, length, groups * width).
        past: (n, groups, size, width), the sum so far.
        decay: (n, length, groups) or (n, length, groups * size), logarithms.
        rate: (n, length, groups or 1), how much of what a key is read as gives way to its value.
        scale: of the output; 0 for 1 / sqrt(size).
    """
    n, length, size = q.shape[0], q.shape[1], q.shape[2] // heads
    queries = q.reshape(n, length, groups, heads // groups, size) * (scale or size**-0.5)
    keys, values = (x.reshape(n, length, groups, -1) for x in (k, v))
    kept = None if decay is None else decay.reshape(n, length, groups, -1).exp().unsqueeze(-1)
    state = q.new_zeros(n, groups, size, values.shape[3]) if past is None else past
    found = []
    for step in range(length):
        if kept is not None and rule in ("gated", "gated_delta"):
            state = state * kept[:, step]
        key, value = keys[:, step].unsqueeze(-1), values[:, step].unsqueeze(-2)
        if rate is not None and rule in ("delta", "gated_delta"):
            value = rate[:, step, :, None, None] * (value - key.mT @ state)
        state = state + key @ value
        found.append(queries[:, step] @ state)
    return torch.stack(found, 1).reshape(n, length, -1), state


def causal_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, past: Tensor | None = None, *, activation: str
) -> tuple[Tensor, Tensor]:
    """Each channel of (n, channels, length) over itself and the k - 1 places before; and the last k - 1 places.

    Args:
        weight: (channels, 1, k).
        past: (n, channels, k - 1), what comes before; zeros if left out.
    """
    before = weight.shape[2] - 1
    whole = torch.cat([x.new_zeros(*x.shape[:2], before) if past is None else past, x], 2)
    y = F.conv1d(whole, weight, bias, groups=x.shape[1])
    return y if activation == "none" else F.silu(y), whole[:, :, whole.shape[2] - before :]


ARITHMETIC.add(causal_convolution)
PRODUCTS.add(causal_convolution)


@operator("LinearAttention")
def build_linear_attention(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    node.only("q_num_heads", "kv_num_heads", "scale", "update_rule", "chunk_size")
    rule = node.attribute("update_rule", "gated_delta")
    inputs = optional_inputs(node, 6)
    given = {4: "gated" in rule, 5: "delta" in rule}
    if rule not in RULES or any(needed and not node.given(place) for place, needed in given.items()):
        raise Unsupported(f"LinearAttention by the rule {rule}")
    literals = {"heads": node.attribute("q_num_heads"), "groups": node.attribute("kv_num_heads"), "rule": rule}
    made = builder.call(linear_attention, *inputs, **literals, scale=node.attribute("scale", 0.0))
    return spread(builder, made, 2)


@emits(linear_attention)
def emit_linear_attention(out: Emission, call: Call) -> Any:
    renamed = {"heads": "q_num_heads", "groups": "kv_num_heads", "rule": "update_rule", "scale": "scale"}
    attributes: dict[str, Any] = {theirs: call.kwargs[ours] for ours, theirs in renamed.items()}
    return read_outputs(out, call, "LinearAttention", 2, **attributes)


@operator("CausalConvWithState")
def build_causal_convolution(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    activation = node.attribute("activation", "none")
    if activation not in ACTIVATIONS:
        raise Unsupported(f"CausalConvWithState with the activation {activation}")
    return spread(builder, builder.call(causal_convolution, *optional_inputs(node, 4), activation=activation), 2)


@emits(causal_convolution)
def emit_causal_convolution(out: Emission, call: Call) -> Any:
    return read_outputs(out, call, "CausalConvWithState", 2, activation=call.kwargs["activation"])
