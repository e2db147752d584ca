"""Is the graph a graph? Checked once, when a model is read; every error names the node."""

from collections import Counter
from collections.abc import Iterable, Set
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.checker import ValidationError

from core.network import limits
from core.network.functions import check_functions
from core.network.order import in_order
from core.network.protos import all_graphs, all_nodes, all_sparse_tensors, all_tensors
from core.network.runtime_operators import tell_onnx
from core.network.sizes import check_held, elements
from modelpress.problem import ModelError, ModelTooLarge, ModelTruncated

DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
REFUSED = {"EPContext"}  # carries a vendor's binary, and paths
CHECKABLE_BYTES = 2**31 - 2**20  # a model that is serialised ends at 2 GiB
SMALL = 1024  # elements


def check_model(model: ModelProto) -> ModelProto:
    """Refuse what can't be computed or must not be; returns the model with its nodes in order.

    Raises:
        ModelError: or a subclass, naming the node or tensor.
    """
    _check_caps(model)
    for tensor in all_tensors(model):
        check_held(tensor)
    for sparse in all_sparse_tensors(model):
        limits.check_allocation(sparse.dims)
    if not model.opset_import:
        raise ModelTruncated("the model names no operator set", hint="Every ONNX file does: upload it again, whole.")
    _check_domains(model)
    check_functions(model)
    _check_references(model.graph)
    _check_loops(model)
    _check_names(model.graph)
    _check_inputs(model.graph)
    _sort(model.graph)
    run_checker(model)
    return model


def _check_caps(model: ModelProto) -> None:
    for count, node in enumerate(all_nodes(model), start=1):
        if count > limits.MAX_NODES:
            raise ModelTooLarge(f"the model has more than {limits.MAX_NODES:,} nodes")
        if max(len(node.input), len(node.output)) > limits.MAX_OPERANDS:
            raise ModelTooLarge(f"{describe(node)[:100]} has more than {limits.MAX_OPERANDS:,} inputs or outputs")
        if any(attribute.i > limits.MAX_OPERANDS for attribute in node.attribute if attribute.name == "num_outputs"):
            raise ModelTooLarge(f"{describe(node)[:100]} declares more than {limits.MAX_OPERANDS:,} outputs")
        _check_length(f"at a {node.op_type[:100]} node", [*node.input, *node.output, node.name])
    graphs = list(all_graphs(model.graph))
    if sum(len(graph.initializer) for graph in graphs) > limits.MAX_TENSORS:
        raise ModelTooLarge(f"the model has more than {limits.MAX_TENSORS:,} tensors")
    for graph in graphs:
        _check_length("of an initialiser", [tensor.name for tensor in graph.initializer])
        for value in [*graph.input, *graph.output]:
            _check_length("of an input or output", [value.name])
            if len(value.type.tensor_type.shape.dim) > limits.MAX_RANK:
                raise ModelError(f"{value.name!r} is declared with more than {limits.MAX_RANK} axes")
            if value.type.tensor_type.elem_type not in TensorProto.DataType.values():
                raise ModelError(f"{value.name!r} is declared with an element type that there is not")


def _check_length(where: str, names: Iterable[str]) -> None:
    if any(len(name) > limits.MAX_NAME for name in names):
        raise ModelTooLarge(f"a name of more than {limits.MAX_NAME:,} characters {where}")


def _check_references(graph: GraphProto) -> None:
    """Only in a function can an attribute be one of the caller's."""
    for inner in all_graphs(graph):
        for node in inner.node:
            if any(attribute.ref_attr_name for attribute in node.attribute):
                raise ModelError(f"{describe(node)} has an attribute that refers to one of a function, outside of any")


def _check_loops(model: ModelProto) -> None:
    """onnxruntime reads how often a loop turns even where an empty tensor has nothing to read, and falls over."""
    loops = [node for node in all_nodes(model) if node.op_type == "Loop" and node.input]
    if not loops:
        return
    stored = {tensor.name: tensor for graph in all_graphs(model.graph) for tensor in graph.initializer}
    for node in all_nodes(model):
        if node.op_type == "Constant":
            stored.update(
                (name, attribute.t) for name in node.output for attribute in node.attribute if attribute.t.dims
            )
    for node in loops:
        turns = stored.get(node.input[0])
        if turns is not None and not elements(turns):
            raise ModelError(f"{describe(node)} is told by {node.input[0]!r} how often to turn, which is empty")


def _check_domains(model: ModelProto) -> None:
    own = {function.domain for function in model.functions}
    for node in all_nodes(model):
        if node.domain not in DOMAINS | own or node.op_type in REFUSED:
            raise ModelError(
                f"{describe(node)} is of {node.domain or 'the standard domain'}, which is not run here",
                hint="Only standard ONNX operators and onnxruntime's own are; export without custom ones.",
            )


def _check_names(graph: GraphProto) -> None:
    """Each value has one producer, and each use a producer."""
    producers = {value.name: "the inputs" for value in graph.input}
    stored = [*(tensor.name for tensor in graph.initializer), *(one.values.name for one in graph.sparse_initializer)]
    producers.update(dict.fromkeys(stored, "the initialisers"))
    _check_once("initialisers", stored)
    _check_once("inputs", [value.name for value in graph.input])
    _check_once("nodes", [node.name for node in graph.node if node.name])
    for node in graph.node:
        for name in filter(None, node.output):
            if name in producers:
                raise ModelError(f"{describe(node)} makes {name!r}, which {producers[name]} make too")
            producers[name] = describe(node)
    for node in graph.node:
        for name in filter(None, node.input):
            if name not in producers:
                raise ModelError(f"{describe(node)} uses {name!r}, which nothing makes")
    for value in graph.output:
        if value.name not in producers:
            raise ModelError(f"the output {value.name!r} is made by nothing")


def _check_once(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        name, _ = Counter(names).most_common(1)[0]
        raise ModelError(f"two {what} are called {name!r}")


def _check_inputs(graph: GraphProto) -> None:
    """Data are checked against the axes of an input, and its samples are found along one."""
    for value in graph.input:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"the input {value.name!r} is declared without a shape",
                hint="Declare its axes; one whose size varies gets a name instead of a number.",
            )


def _sort(graph: GraphProto) -> None:
    nodes = list(graph.node)
    order = in_order(nodes)
    if order != list(range(len(nodes))):
        copies = []
        for index in order:
            copy = NodeProto()
            copy.CopyFrom(nodes[index])
            copies.append(copy)
        del graph.node[:]
        graph.node.extend(copies)


def run_checker(model: ModelProto) -> None:
    """onnx's own, but for what onnxruntime does not ask for either.

    On a copy without the heavy initialisers, which `check_held` has looked at: the checker serialises it all.

    Raises:
        ModelError: with what it says.
    """
    tell_onnx()
    try:
        onnx.checker.check_model(_light(model))
    except ValidationError as error:
        raise ModelError(f"onnx's checker refuses the model: {str(error).strip()[:500]}") from error


def _light(model: ModelProto) -> ModelProto:
    light = ModelProto()
    copy_fields(model, light, without={"graph"})
    copy_fields(model.graph, light.graph, without={"initializer"})
    light.ir_version = max(light.ir_version, 4)  # before, every initialiser had to be an input; onnxruntime never asks
    for value in light.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()  # the checker wants a shape, which outputs need not declare
    inputs = {value.name for value in light.graph.input}
    for tensor in model.graph.initializer:
        if elements(tensor) <= SMALL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def copy_fields(source: Any, target: Any, without: Set[str]) -> None:
    """Set in `target` what is set in `source`, a message without fields of single messages, but for some fields."""
    for field, value in source.ListFields():
        if field.name in without:
            continue
        if hasattr(value, "extend"):  # a repeated field
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def describe(node: NodeProto) -> str:
    """How a node is called in messages."""
    return f"{node.op_type} node {node.name or '/'.join(node.output) or '(unnamed)'!r}"
