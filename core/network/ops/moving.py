"""Builders and emitters of the functions in `shape.py`."""

import math
from typing import Any

import torch
from onnx import TensorProto, numpy_helper

from core.network.checks import describe
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import MAX_RANK
from core.network.onnx_node import OnnxNode
from core.network.ops import shape as moves
from core.network.ops.embedding import build_embedding, is_embedding
from core.network.registry import TABLES, Call, emits, operator, operator_of
from core.network.sparse import dense
from core.network.tensors import ONNX_TYPE, compute_type, storage_array, to_torch
from core.network.unsupported import Unsupported
from core.network.values import Value
from modelpress.problem import ModelError

CASTABLE = {
    TensorProto.BOOL,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
}
"""Narrower floats round what they hold, and other integers are kept in wider ones that wrap elsewhere."""


TABLES.update([moves.concat, moves.expand_to, moves.slice_by, moves.tile_by])


@operator("Constant")
def build_constant(builder: Builder, node: OnnxNode) -> Value:
    attribute = node.proto.attribute[0]
    if attribute.name == "value":
        return builder.constant(to_torch(attribute.t))
    if attribute.name == "sparse_value":
        return builder.constant(dense(attribute.sparse_tensor))
    kinds = {"value_float": torch.float32, "value_floats": torch.float32, "value_int": torch.int64}
    kinds["value_ints"] = torch.int64
    if attribute.name not in kinds:
        raise Unsupported(f"Constant with {attribute.name}")
    return builder.constant(torch.tensor(node.attribute(attribute.name), dtype=kinds[attribute.name]))


@operator("ConstantOfShape")
def build_constant_of_shape(builder: Builder, node: OnnxNode) -> Value:
    filler = node.attribute("value")
    if filler is not None and filler.data_type not in CASTABLE:
        raise Unsupported(f"ConstantOfShape of {TensorProto.DataType.Name(filler.data_type)}")
    value = to_torch(filler).reshape(-1) if filler is not None else torch.zeros(1)
    return builder.call(moves.constant_of_shape, node.input(0), value=value[0].item(), to=value.dtype)


@operator("Shape")
def build_shape(builder: Builder, node: OnnxNode) -> Value:
    """Constant where the sizes are known without running."""
    start, end = node.attribute("start", 0), node.attribute("end")
    sizes = node.shape(0)
    if sizes is not None and all(isinstance(size, int) for size in sizes[start:end]):
        return builder.constant(torch.tensor(sizes[start:end], dtype=torch.int64))
    return builder.call(moves.shape_of, node.input(0), start=start, end=end)


@operator("Size")
def build_size(builder: Builder, node: OnnxNode) -> Value:
    """Constant where the sizes are known without running, as those of a shape are: its rank."""
    sizes = node.shape(0)
    if sizes is not None and len(numbers := [size for size in sizes if isinstance(size, int)]) == len(sizes):
        return builder.constant(torch.tensor(math.prod(numbers)))
    return builder.call(moves.size_of, node.input(0))


@operator("Reshape")
def build_reshape(builder: Builder, node: OnnxNode) -> Value:
    node.only("shape", "allowzero")
    allowzero = node.attribute("allowzero", 0)
    if node.has("shape") or node.is_constant(1):
        return builder.call(moves.reshape, node.input(0), shape=node.ints_either("shape", 1), allowzero=allowzero)
    literal = literal_shape(node)
    if literal is not None:
        return builder.call(moves.reshape, node.input(0), shape=literal)
    return builder.call(moves.reshape_to, node.input(0), node.input(1), allowzero=allowzero)


def literal_shape(node: OnnxNode) -> list[int] | None:
    """The target shape where at most one size is not known before running; that one becomes -1."""
    sizes = node.output_shape()
    if sizes is None or sum(not isinstance(size, int) for size in sizes) > 1 or 0 in sizes:
        return None
    return [size if isinstance(size, int) else -1 for size in sizes]


@operator("Flatten")
def build_flatten(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(moves.flatten, node.input(0), axis=node.attribute("axis", 1))


@operator("Transpose")
def build_transpose(builder: Builder, node: OnnxNode) -> Value:
    perm = node.attribute("perm")
    if perm is None:
        rank = node.rank(0)
        if rank is None:
            raise Unsupported("Transpose of a tensor of unknown rank")
        perm = list(reversed(range(rank)))
    return builder.call(moves.transpose, node.input(0), perm=perm)


@operator("Squeeze")
def build_squeeze(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(moves.squeeze, node.input(0), axes=node.ints_either("axes", 1))


@operator("Unsqueeze")
def build_unsqueeze(builder: Builder, node: OnnxNode) -> Value:
    axes = node.ints_either("axes", 1) or []
    if len(axes) > MAX_RANK:
        raise ModelError(f"{describe(node.proto)} makes more than {MAX_RANK} axes")
    return builder.call(moves.unsqueeze, node.input(0), axes=axes)


@operator("Expand")
def build_expand(builder: Builder, node: OnnxNode) -> Value:
    if node.is_constant(1):
        return builder.call(moves.expand, node.input(0), shape=node.ints(1))
    return builder.call(moves.expand_to, node.input(0), node.input(1))


@operator("Tile")
def build_tile(builder: Builder, node: OnnxNode) -> Value:
    if node.is_constant(1):
        return builder.call(moves.tile, node.input(0), repeats=node.ints(1))
    return builder.call(moves.tile_by, node.input(0), node.input(1))


@operator("Concat")
def build_concat(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(moves.concat, *node.inputs(), axis=node.attribute("axis", 1))


@operator("Gather")
def build_gather(builder: Builder, node: OnnxNode) -> Value:
    if is_embedding(node):
        return build_embedding(builder, node)
    axis = node.attribute("axis", 0)
    if node.is_constant(1) and (known := _known_sizes(node)) is not None:
        return builder.constant(known)
    if node.is_constant(1) and not node.is_constant(0) and node.tensor(1).dim() == 1:
        indices = node.tensor(1).tolist()
        if all(index >= 0 for index in indices):
            return builder.call(moves.take, node.input(0), indices=indices, axis=axis)
    return builder.call(moves.gather, node.input(0), node.input(1), axis=axis)


def _known_sizes(node: OnnxNode) -> torch.Tensor | None:
    """What a constant index picks from the sizes of a value, where these are known without running."""
    maker = node.source.producer.get(node.name(0))
    if maker is None or node.source.nodes[maker].op_type != "Shape" or node.source.nodes[maker].attribute:
        return None
    sizes, places = node.source.shape(node.source.nodes[maker].input[0]), node.tensor(1)
    if sizes is None or not all(-len(sizes) <= place < len(sizes) for place in places.reshape(-1).tolist()):
        return None
    picked = [sizes[place] for place in places.reshape(-1).tolist()]
    numbers = [size for size in picked if isinstance(size, int)]
    return torch.tensor(numbers).reshape(places.shape) if len(numbers) == len(picked) else None


@operator("Cast")
def build_cast(builder: Builder, node: OnnxNode) -> Value:
    return _cast(builder, node, node.attribute("to"))


@operator("CastLike")
def build_cast_like(builder: Builder, node: OnnxNode) -> Value:
    return _cast(builder, node, node.source.element_type(node.name(1)))


def _cast(builder: Builder, node: OnnxNode, stored: int) -> Value:
    if stored not in CASTABLE:
        raise Unsupported(f"{node.op} to {TensorProto.DataType.Name(stored)}")
    return builder.call(moves.cast, node.input(0), to=compute_type(stored), stored=stored)


@operator("Range")
def build_range(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(moves.range_, *node.inputs())


@operator("DepthToSpace")
def build_depth_to_space(builder: Builder, node: OnnxNode) -> Value:
    mode = node.attribute("mode", "DCR")
    return builder.call(moves.depth_to_space, node.input(0), blocksize=node.attribute("blocksize"), mode=mode)


@operator("SpaceToDepth")
def build_space_to_depth(builder: Builder, node: OnnxNode) -> Value:
    order = {"mode": "CRD"} if node.attribute("mode", "DCR") == "CRD" else {}
    return builder.call(moves.space_to_depth, node.input(0), blocksize=node.attribute("blocksize"), **order)


@emits(moves.reshape)
def emit_reshape(out: Emission, call: Call) -> str:
    shape = out.ints(f"{call.base}/shape", call.kwargs["shape"])
    attributes: dict[str, Any] = {"allowzero": 1} if call.kwargs.get("allowzero") else {}
    return out.node("Reshape", [*call.inputs, shape], name=call.base, **attributes)


@emits(moves.reshape_to, moves.expand_to, moves.tile_by)
def emit_computed(out: Emission, call: Call) -> str:
    ops = {moves.reshape_to: "Reshape", moves.expand_to: "Expand", moves.tile_by: "Tile"}
    attributes: dict[str, Any] = {"allowzero": 1} if call.kwargs.get("allowzero") else {}
    return out.node(operator_of(call, ops), call.inputs, name=call.base, **attributes)


@emits(moves.flatten)
def emit_flatten(out: Emission, call: Call) -> str:
    return out.node("Flatten", call.inputs, name=call.base, axis=call.kwargs["axis"])


@emits(moves.transpose)
def emit_transpose(out: Emission, call: Call) -> str:
    attributes: dict[str, Any] = {"perm": call.kwargs["perm"]} if call.kwargs["perm"] else {}
    return out.node("Transpose", call.inputs, name=call.base, **attributes)


@emits(moves.squeeze, moves.unsqueeze)
def emit_squeeze(out: Emission, call: Call) -> str:
    op = "Squeeze" if call.node.target is moves.squeeze else "Unsqueeze"
    axes = call.kwargs["axes"]
    if axes is None:
        return out.node(op, call.inputs, name=call.base)
    if out.opset < 13:
        return out.node(op, call.inputs, name=call.base, axes=axes)
    return out.node(op, [*call.inputs, out.ints(f"{call.base}/axes", axes)], name=call.base)


@emits(moves.expand, moves.tile)
def emit_expand(out: Emission, call: Call) -> str:
    if call.node.target is moves.expand:
        return out.node("Expand", [*call.inputs, out.ints(f"{call.base}/shape", call.kwargs["shape"])], name=call.base)
    return out.node("Tile", [*call.inputs, out.ints(f"{call.base}/repeats", call.kwargs["repeats"])], name=call.base)


@emits(moves.concat)
def emit_concat(out: Emission, call: Call) -> str:
    return out.node("Concat", call.inputs, name=call.base, axis=call.kwargs["axis"])


@emits(moves.gather)
def emit_gather(out: Emission, call: Call) -> str:
    return out.node("Gather", call.inputs, name=call.base, axis=call.kwargs["axis"])


@emits(moves.take)
def emit_take(out: Emission, call: Call) -> str:
    indices = out.ints(f"{call.base}/indices", call.kwargs["indices"])
    return out.node("Gather", [*call.inputs, indices], name=call.base, axis=call.kwargs["axis"])


@emits(moves.cast)
def emit_cast(out: Emission, call: Call) -> str:
    return out.node("Cast", call.inputs, name=call.base, to=call.kwargs["stored"])


@emits(moves.shape_of)
def emit_shape(out: Emission, call: Call) -> str:
    start, end = call.kwargs["start"], call.kwargs["end"]
    if not start and end is None:
        return out.node("Shape", call.inputs, name=call.base)
    out.require_opset(15)
    bounds = {"start": start} if end is None else {"start": start, "end": end}
    return out.node("Shape", call.inputs, name=call.base, **bounds)


@emits(moves.size_of)
def emit_size(out: Emission, call: Call) -> str:
    return out.node("Size", call.inputs, name=call.base)


@emits(moves.constant_of_shape)
def emit_constant_of_shape(out: Emission, call: Call) -> str:
    filler = torch.tensor([call.kwargs["value"]], dtype=call.kwargs["to"])
    kind = out.float_type if filler.is_floating_point() else ONNX_TYPE[filler.dtype]
    value = numpy_helper.from_array(storage_array(filler, kind))
    return out.node("ConstantOfShape", call.inputs, name=call.base, value=value)


@emits(moves.range_)
def emit_range(out: Emission, call: Call) -> str:
    return out.node("Range", call.inputs, name=call.base)


@emits(moves.depth_to_space)
def emit_depth_to_space(out: Emission, call: Call) -> str:
    return out.node("DepthToSpace", call.inputs, name=call.base, **call.kwargs)


@emits(moves.space_to_depth)
def emit_space_to_depth(out: Emission, call: Call) -> str:
    return out.node("SpaceToDepth", call.inputs, name=call.base, **call.kwargs)
