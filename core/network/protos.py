"""Walks over every graph, node and tensor of a model, subgraphs and attributes included."""

from collections.abc import Iterable, Iterator, Mapping

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
)

from core.network.limits import MAX_DEPTH
from modelpress.problem import ModelTooLarge


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that `node` carries as attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: GraphProto, depth: int = 0) -> Iterator[GraphProto]:
    """`graph` and the graphs nested in it.

    Raises:
        ModelTooLarge: nested deeper than any real model.
    """
    if depth > MAX_DEPTH:
        raise ModelTooLarge(f"graphs are nested deeper than {MAX_DEPTH} levels")
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner, depth + 1)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of the graph, of nested graphs, and of the model's functions."""
    for graph in all_graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for graph in subgraphs(node):
                for inner in all_graphs(graph, 1):
                    yield from inner.node


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that the model stores, wherever it is."""
    for graph in all_graphs(model.graph):
        yield from graph.initializer
    for sparse in all_sparse_tensors(model):
        yield sparse.values
        yield sparse.indices
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def all_sparse_tensors(model: ModelProto) -> Iterator[SparseTensorProto]:
    """Every sparse tensor that the model stores, wherever it is."""
    for graph in all_graphs(model.graph):
        yield from graph.sparse_initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from attribute.sparse_tensors
            if attribute.HasField("sparse_tensor"):
                yield attribute.sparse_tensor


def opset_of(imports: Iterable[OperatorSetIdProto]) -> int:
    """Version of the standard operators; 1 where there are none."""
    return next((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), 1)


def captured(node: NodeProto) -> list[str]:
    """Names that the subgraphs of `node` take from the graph around them, in order of first use."""
    found: dict[str, None] = {}
    for graph in subgraphs(node):
        found.update(dict.fromkeys(_free_names(graph)))
    return list(found)


def _free_names(graph: GraphProto) -> list[str]:
    bound = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    free: dict[str, None] = {}
    for node in graph.node:
        for name in [*node.input, *captured(node)]:
            if name and name not in bound:
                free[name] = None
        bound.update(node.output)
    free.update(dict.fromkeys(value.name for value in graph.output if value.name not in bound))
    return list(free)


def renamed_copy(node: NodeProto, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> NodeProto:
    """The node with other value names, inside its subgraphs too."""
    copy = NodeProto()
    copy.CopyFrom(node)
    rename_inputs(copy, inputs)
    copy.output[:] = [outputs.get(name, name) for name in node.output]
    return copy


def rename_inputs(node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node read its inputs under other names; in its subgraphs too, where these make no value of that name."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for graph in subgraphs(node):
        own = bound_names(graph)
        outer = {name: new for name, new in names.items() if name not in own}
        for inner in graph.node:
            rename_inputs(inner, outer)
        for output in graph.output:
            output.name = outer.get(output.name, output.name)


def bound_names(graph: GraphProto) -> set[str]:
    """Names of the values that `graph` itself makes: inputs, initialisers and outputs of nodes."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    return own.union(*(node.output for node in graph.node))
