"""The model as it was read, with an index: who makes a value, what is constant, what type and shape it has."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto
from onnx.shape_inference import InferenceError

from core.network.functions import inlined
from core.network.protos import all_graphs, bound_names, captured, opset_of
from core.network.runtime import value_types
from core.network.sizes import elements
from core.network.sparse import densified
from core.network.tables import PICKS

if TYPE_CHECKING:
    from core.network.reading import Reading

INT64 = TensorProto.INT64
SMALL = 1024  # elements: larger constants hold no shapes
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}

Shape = list[int | str | None]


class Source:
    """An index over a proto, which is not changed: in the copy that is indexed functions are inlined and tensors dense.

    Attributes:
        reading: the normal form as it was imported, once it was.
    """

    def __init__(self, proto: ModelProto) -> None:
        self.proto = proto
        self.model = densified(inlined(proto))
        graph = self.model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value for value in graph.input if value.name not in self.initializers]
        self.outputs = list(graph.output)
        self.reading: Reading | None = None
        self._initializer_types: dict[str, TypeProto] = {}
        self.producer: dict[str, int] = {
            name: index for index, node in enumerate(self.nodes) for name in node.output if name
        }

    @cached_property
    def read(self) -> set[str]:
        """Names that a node or an output of the model reads."""
        names = {name for needed in self._needs for name in needed}
        return names | {value.name for value in self.outputs}

    @property
    def opset(self) -> int:
        return opset_of(self.model.opset_import)

    def needs(self, index: int) -> list[str]:
        """Names that node `index` reads, those of its subgraphs included."""
        return self._needs[index]

    @cached_property
    def _needs(self) -> list[list[str]]:
        return [[name for name in [*node.input, *captured(node)] if name] for node in self.nodes]

    def live(self, names: Iterable[str]) -> set[int]:
        """Indices of the nodes that `names` depend on."""
        found: set[int] = set()
        waiting = [self.producer[name] for name in names if name in self.producer]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting.extend(self.producer[name] for name in self.needs(index) if name in self.producer)
        return found

    def origin(self, name: str) -> tuple[str, bool]:
        """What a matrix is a copy or the transpose of: its name, and whether it is transposed."""
        is_transposed = False
        while name in self.producer:
            node = self.nodes[self.producer[name]]
            if node.op_type == "Transpose" and is_swap(node):
                is_transposed = not is_transposed
            elif node.op_type != "Identity":
                break
            name = node.input[0]
        return name, is_transposed

    def is_stored(self, name: str) -> bool:
        """Whether a value is an initialiser or a part of one, at most moved about."""
        while name in self.producer:
            node = self.nodes[self.producer[name]]
            if node.op_type not in PICKS:
                return False
            name = node.input[0]
        return name in self.initializers

    @cached_property
    def names(self) -> set[str]:
        """Names of all values, those inside subgraphs too."""
        return set().union(*(bound_names(graph) for graph in all_graphs(self.model.graph)))

    @cached_property
    def constants(self) -> set[str]:
        """Names of the values that depend on no input of the model."""
        constant = set(self.initializers)
        for index, node in enumerate(self.nodes):
            if node.op_type not in RANDOM and all(name in constant for name in self.needs(index)):
                constant.update(node.output)
        return constant

    @cached_property
    def _types(self) -> dict[str, TypeProto]:
        skeleton = _skeleton(self)
        try:
            inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
        except (InferenceError, RuntimeError, ValueError):  # shapes are a help, not a need
            inferred = skeleton
        values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
        known = {value.name: value.type for value in values if _is_known(value.type)}
        if unknown := [name for node in skeleton.graph.node for name in node.output if name and name not in known]:
            known.update(value_types(skeleton, unknown))
        return known

    def type(self, name: str) -> TypeProto | None:
        """Type of a value, with its shape as far as that is known; None where unknown."""
        if name in self.initializers and name not in self._initializer_types:
            tensor = self.initializers[name]
            self._initializer_types[name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        return self._initializer_types.get(name) or self._types.get(name)

    def shape(self, name: str) -> Shape | None:
        """Sizes of a value: a number, a symbol, or None where unknown; None for an unknown rank."""
        kind = self._types.get(name)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        return [size_of(dimension) for dimension in kind.tensor_type.shape.dim]

    @staticmethod
    def declared(value: onnx.ValueInfoProto) -> Shape:
        """Sizes of an input or output as the file declares them."""
        return [size_of(dimension) for dimension in value.type.tensor_type.shape.dim]

    def element_type(self, name: str) -> int:
        """onnx.TensorProto.DataType of a value; 0 where unknown."""
        if name in self.initializers:
            return self.initializers[name].data_type
        kind = self._types.get(name)
        return kind.tensor_type.elem_type if kind is not None else 0


def _is_known(kind: TypeProto) -> bool:
    """Whether a type says what its elements are."""
    return kind.WhichOneof("value") is not None and (
        not kind.HasField("tensor_type") or kind.tensor_type.elem_type != TensorProto.UNDEFINED
    )


def is_swap(transpose: NodeProto) -> bool:
    """Whether it swaps the axes of a matrix, if it gets one."""
    return all(list(attribute.ints) == [1, 0] for attribute in transpose.attribute if attribute.name == "perm")


def size_of(dimension: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """Old exporters write -1 where nothing is known."""
    if dimension.HasField("dim_value"):
        return dimension.dim_value if dimension.dim_value >= 0 else None
    return dimension.dim_param or None


def _skeleton(source: Source) -> ModelProto:
    """The model without its heavy tensors and without the shapes that its author claims."""
    model = source.model
    bare = ModelProto(ir_version=max(model.ir_version, 4))
    bare.opset_import.extend(model.opset_import)
    bare.graph.name = "skeleton"
    bare.graph.input.extend(source.inputs)
    bare.graph.output.extend(
        onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
        if value.type.HasField("tensor_type")
        else value
        for value in source.outputs
    )
    for tensor in source.initializers.values():
        if elements(tensor) <= SMALL:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in source.nodes:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is not None and elements(value) > SMALL:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], value.data_type, value.dims))
        elif node.op_type == "Range":  # the inference would compute it, however long it is
            length = f"length of {node.output[0]}"
            bare.graph.input.append(onnx.helper.make_tensor_value_info(length, INT64, [1]))
            bare.graph.node.append(onnx.helper.make_node("Expand", [node.input[0], length], node.output))
        else:
            bare.graph.node.append(node)
    return bare
