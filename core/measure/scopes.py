"""The graphs of a model, nested ones included, and what is constant in each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from core.measure.runner import RUNTIME_ERRORS, Arrays, open_session, run_session
from core.network.limits import MAX_DEPTH
from core.network.protos import captured, subgraphs
from core.network.runtime import patience
from core.network.source import RANDOM
from modelpress.problem import ModelTooLarge


class Scope:
    """One graph, and the graphs around it whose values it may read.

    Attributes:
        nodes: in order.
        place: index in the graph around it of the node that it is a part of, -1 for the main graph.
        owner: index of the main graph's node that it is inside of, -1 for the main graph.
    """

    def __init__(self, model: ModelProto, graph: GraphProto, outer: Scope | None = None, place: int = -1) -> None:
        self.model, self.outer, self.place = model, outer, place
        self.owner: int = place if outer is None or outer.outer is None else outer.owner
        self.nodes: list[NodeProto] = list(graph.node)
        self.initializers: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.producer = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.inputs = [value.name for value in graph.input if value.name not in self.initializers]
        self.outputs = [value.name for value in graph.output]

    def needs(self, index: int) -> list[str]:
        """Names that node `index` reads, those of its subgraphs included."""
        return [name for name in [*self.nodes[index].input, *captured(self.nodes[index])] if name]

    @cached_property
    def _own_constants(self) -> set[str]:
        known = set(self.initializers)
        for index, node in enumerate(self.nodes):
            if node.op_type not in RANDOM and all(self._constant(name, known) for name in self.needs(index)):
                known.update(node.output)
        return known

    def _constant(self, name: str, known: set[str]) -> bool:
        home = self.home(name)
        return name in known if home is self else home is not None and home.is_constant(name)

    def is_constant(self, name: str) -> bool:
        """Whether a value that is read here depends on no input."""
        return self._constant(name, self._own_constants)

    def home(self, name: str) -> Scope | None:
        """The scope that makes or holds a value; None where there is none."""
        if name in self.initializers or name in self.producer or name in self.inputs:
            return self
        return self.outer.home(name) if self.outer else None

    def is_folded(self, index: int) -> bool:
        """Whether a node computes constants alone, at load."""
        return all(self.is_constant(name) for name in self.nodes[index].output if name)

    def stored(self, name: str) -> dict[tuple[Scope, str], TensorProto]:
        """The tensors of the file that a constant is computed from, by where they are."""
        found: dict[tuple[Scope, str], TensorProto] = {}
        waiting, seen = [(self, name)], set()
        while waiting:
            scope, current = waiting.pop()
            home = scope.home(current)
            if home is None or (home, current) in seen:
                continue
            seen.add((home, current))
            if current in home.initializers:
                found[home, current] = home.initializers[current]
            elif current in home.producer:
                index = home.producer[current]
                held = next((a.t for a in home.nodes[index].attribute if a.name == "value" and a.HasField("t")), None)
                if home.nodes[index].op_type == "Constant" and held is not None:
                    found[home, current] = held
                waiting += [(home, needed) for needed in home.needs(index)]
        return found

    def computed(self, names: list[str]) -> Arrays:
        """Constants that nodes make, evaluated by onnxruntime; nothing where it can't."""
        if not names:
            return {}
        nodes, tensors = self._recipe(names)
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        graph = onnx.helper.make_graph(nodes, "constants", [], outputs, tensors)
        version = max(self.model.ir_version, 4)
        model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=version)
        try:
            with patience() as options:
                return run_session(open_session(model.SerializeToString()), names, {}, options)
        except (*RUNTIME_ERRORS, ValueError):  # ValueError: beyond protobuf's 2 GiB
            return {}

    def _recipe(self, names: list[str]) -> tuple[list[NodeProto], list[TensorProto]]:
        """Nodes in order, and the tensors that they need."""
        nodes: dict[tuple[int, int], NodeProto] = {}
        tensors: dict[str, TensorProto] = {}
        waiting: list[tuple[Scope, str]] = [(self, name) for name in names]
        while waiting:
            scope, name = waiting.pop()
            home = scope.home(name)
            if home is not None and name in home.initializers:
                tensors[name] = home.initializers[name]
            elif home is not None and name in home.producer:
                place = (home.depth, home.producer[name])
                if place not in nodes:
                    nodes[place] = home.nodes[place[1]]
                    waiting += [(home, needed) for needed in home.needs(place[1])]
        return [nodes[place] for place in sorted(nodes)], list(tensors.values())

    @property
    def depth(self) -> int:
        return 0 if self.outer is None else self.outer.depth + 1


def all_scopes(model: ModelProto) -> list[Scope]:
    """The main graph, then every nested one, in the order of `protos.all_graphs`.

    Raises:
        ModelTooLarge: nested deeper than any real model.
    """
    return list(_scopes(Scope(model, model.graph)))


def _scopes(scope: Scope) -> Iterator[Scope]:
    if scope.depth > MAX_DEPTH:
        raise ModelTooLarge(f"graphs are nested deeper than {MAX_DEPTH} levels")
    yield scope
    for index, node in enumerate(scope.nodes):
        for graph in subgraphs(node):
            yield from _scopes(Scope(scope.model, graph, scope, index))
