"""Attention and RotaryEmbedding of the standard, opsets 23 and later, to and from `attention.py`."""

import math
from typing import Any

from onnx import TensorProto

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.attention import BIASED, attention, attention_with_state, rotary_embedding
from core.network.ops.operands import optional_inputs, read_outputs, spread, stripped
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

WINDOW = ("left_window_size", "right_window_size")
ATTRIBUTES = ("q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal")
INPUTS = 7
SIGHT = {"is_causal": 0, **dict.fromkeys(WINDOW, -1)}
"""Attributes that say where a query may look, as they are where it may everywhere."""


@operator("Attention")
def build_attention(builder: Builder, node: OnnxNode) -> Value | tuple[Value, ...]:
    """The scale is written out where the width of a head is known, so that it stays when a head gets narrower."""
    node.only(*ATTRIBUTES, *WINDOW, "softmax_precision", "qk_matmul_output_mode")
    if node.rank(0) not in (3, 4):
        raise Unsupported("Attention of a tensor of unknown rank")
    literals: dict[str, Any] = {
        "q_num_heads": node.attribute("q_num_heads"),
        "kv_num_heads": node.attribute("kv_num_heads"),
        "scale": node.attribute("scale", _scale(node)),
        "softcap": node.attribute("softcap", 0.0),
        "is_causal": node.attribute("is_causal", 0),
        "window": tuple(node.attribute(name, -1) for name in WINDOW),
    }
    inputs = optional_inputs(node, INPUTS)
    if not node.extra_outputs():
        return builder.call(attention, *inputs, **literals)
    stage = node.attribute("qk_matmul_output_mode", 0)
    if stage == BIASED and _hides(node):
        raise Unsupported("Attention whose hidden scores are used: they are the least number there, not infinite")
    return spread(builder, builder.call(attention_with_state, *inputs, **literals, stage=stage), 4)


def _hides(node: OnnxNode) -> bool:
    """Whether a query may not look everywhere; an addend alone hides nothing."""
    has_switches = node.given(3) and node.source.element_type(node.name(3)) == TensorProto.BOOL
    return has_switches or node.given(6) or any(node.attribute(name, all_) != all_ for name, all_ in SIGHT.items())


def _scale(node: OnnxNode) -> float | None:
    shape = node.shape(0) or [None]
    width, heads = shape[-1], node.attribute("q_num_heads", 1) if len(shape) == 3 else 1
    return 1 / math.sqrt(width / heads) if isinstance(width, int) and width else None


@emits(attention, attention_with_state)
def emit_attention(out: Emission, call: Call) -> str | tuple[str, ...]:
    out.require_opset(23)
    literals = {name: call.kwargs[name] for name in ATTRIBUTES if call.kwargs[name] is not None}
    window: dict[str, Any] = {name: size for name, size in zip(WINDOW, call.kwargs["window"], strict=True) if size >= 0}
    if call.node.target is attention:
        return out.node("Attention", stripped(call.inputs), name=call.base, **literals, **window)
    literals["qk_matmul_output_mode"] = call.kwargs["stage"]
    return read_outputs(out, call, "Attention", 4, **literals, **window)


@operator("RotaryEmbedding")
def build_rotary(builder: Builder, node: OnnxNode) -> Value:
    node.only("interleaved", "num_heads", "rotary_embedding_dim")
    return builder.call(
        rotary_embedding,
        *optional_inputs(node, 4),
        num_heads=node.attribute("num_heads", 0),
        rotary_dim=node.attribute("rotary_embedding_dim", 0),
        interleaved=node.attribute("interleaved", 0),
    )


@emits(rotary_embedding)
def emit_rotary(out: Emission, call: Call) -> str:
    out.require_opset(23)
    return out.node("RotaryEmbedding", stripped(call.inputs), name=call.base, **rotary_attributes(call))


def rotary_attributes(call: Call) -> dict[str, Any]:
    names = {"num_heads": "num_heads", "rotary_dim": "rotary_embedding_dim", "interleaved": "interleaved"}
    return {theirs: call.kwargs[ours] for ours, theirs in names.items() if call.kwargs[ours]}
