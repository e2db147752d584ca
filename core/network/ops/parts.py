"""Builders and emitters of what takes parts of a value: Split and Slice."""

from typing import Any

import torch
from onnx import TensorProto

from core.network.checks import describe
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops import shape as moves
from core.network.ops.operands import optional_inputs, spread, stripped
from core.network.registry import Call, emits, operator
from core.network.values import Value
from modelpress.problem import ModelError


@operator("Split")
def build_split(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    axis, count = node.attribute("axis", 0), len(node.proto.output)
    x = node.input(0)
    if node.given(1) and not node.is_constant(1):
        return spread(builder, builder.call(moves.split_by, x, node.input(1), axis=axis, count=count), count)
    sizes = node.ints_either("split", 1) or _even_sizes(node, axis, count)
    if sizes is None:
        return spread(builder, builder.call(moves.split_evenly, x, axis=axis, count=count), count)
    return spread(builder, builder.call(moves.split, x, axis=axis, sizes=sizes), len(sizes))


def _even_sizes(node: OnnxNode, axis: int, count: int) -> list[int] | None:
    """None where the size of the axis is not known without running."""
    shape = node.shape(0)
    size = shape[axis] if shape is not None else None
    return moves.even_sizes(size, count) if isinstance(size, int) else None


@operator("Slice")
def build_slice(builder: Builder, node: OnnxNode) -> Value:
    if node.opset < 10:
        starts, ends = node.attribute("starts"), node.attribute("ends")
        axes = node.attribute("axes", list(range(len(starts))))
        return _literal(builder, node, starts, ends, axes, [1] * len(starts))
    if any(node.given(place) and not node.is_constant(place) for place in (3, 4)) or _count(node) is None:
        return builder.call(moves.slice_at, *optional_inputs(node, 5))
    axes = node.ints(3) or list(range(_count(node) or 0))
    steps = node.ints(4) or [1] * len(axes)
    if 0 in steps:
        raise ModelError(f"{describe(node.proto)} has steps of 0")
    if node.is_constant(1) and node.is_constant(2):
        return _literal(builder, node, node.ints(1) or [], node.ints(2) or [], axes, steps)
    starts, ends = (_wide(builder, node, place) for place in (1, 2))
    return builder.call(moves.slice_by, node.input(0), starts, ends, axes=axes, steps=steps)


def _wide(builder: Builder, node: OnnxNode, place: int) -> Value:
    """Positions as int64, which the literals are written in: all of a node's must be alike."""
    if node.source.element_type(node.name(place)) != TensorProto.INT32:
        return node.input(place)
    return builder.call(moves.cast, node.input(place), to=torch.int64, stored=TensorProto.INT64)


def _count(node: OnnxNode) -> int | None:
    """How many axes are cut, as far as any of the lists says so without running."""
    lengths = [(node.shape(place) or [None])[0] for place in (1, 2, 3) if node.given(place)]
    return next((length for length in lengths if isinstance(length, int)), None)


def _literal(
    builder: Builder, node: OnnxNode, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> Value:
    return builder.call(moves.slice_, node.input(0), starts=starts, ends=ends, axes=axes, steps=steps)


@emits(moves.split)
def emit_split(out: Emission, call: Call) -> tuple[str, ...]:
    axis, sizes = call.kwargs["axis"], call.kwargs["sizes"]
    if out.opset < 13:
        return _outputs(out, call, call.inputs, len(sizes), axis=axis, split=sizes)
    inputs = [*call.inputs, out.ints(f"{call.base}/sizes", sizes)]
    return _outputs(out, call, inputs, len(sizes), axis=axis)


@emits(moves.split_by)
def emit_split_by(out: Emission, call: Call) -> tuple[str, ...]:
    return _outputs(out, call, call.inputs, call.kwargs["count"], axis=call.kwargs["axis"])


@emits(moves.split_evenly)
def emit_split_evenly(out: Emission, call: Call) -> tuple[str, ...]:
    axis, count = call.kwargs["axis"], call.kwargs["count"]
    attributes = {"num_outputs": count} if out.opset >= 18 else {}
    return _outputs(out, call, call.inputs, count, axis=axis, **attributes)


def _outputs(out: Emission, call: Call, inputs: Any, count: int, **attributes: Any) -> tuple[str, ...]:
    results = out.node("Split", inputs, outputs=count, name=call.base, **attributes)
    return results if isinstance(results, tuple) else (results,)


@emits(moves.slice_)
def emit_slice(out: Emission, call: Call) -> str:
    literals = call.kwargs
    if out.opset < 10:
        names = ("starts", "ends", "axes")
        return out.node("Slice", call.inputs, name=call.base, **{name: literals[name] for name in names})
    names = ("starts", "ends", "axes", "steps")
    lists = [out.ints(f"{call.base}/{name}", literals[name]) for name in names]
    return out.node("Slice", [*call.inputs, *lists], name=call.base)


@emits(moves.slice_by)
def emit_slice_by(out: Emission, call: Call) -> str:
    lists = [out.ints(f"{call.base}/{name}", call.kwargs[name]) for name in ("axes", "steps")]
    return out.node("Slice", [*call.inputs, *lists], name=call.base)


@emits(moves.slice_at)
def emit_slice_at(out: Emission, call: Call) -> str:
    return out.node("Slice", stripped(call.inputs), name=call.base)
