"""Which source nodes the normal form still says exactly, found by comparing with what the importer makes of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from onnx import NodeProto
from torch import Tensor, fx, nn

from core.formulas import formula_of
from core.network.opaque import OpaqueNode
from core.network.source import Source

HYPERPARAMETERS = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "padding_mode",
    "transposed",
    "eps",
    "momentum",
    "p",
)
NOT_STORED = {"num_batches_tracked"}


class Match(Enum):
    """What became of a source node."""

    SAME = "same"  # emitted as it came, at most with other names of its inputs
    TENSORS = "tensors"  # the same layer with other tensors
    CHANGED = "changed"


@dataclass
class Group:
    """The nodes that one source node became.

    Attributes:
        nodes: of the current graph, in order.
        renamed: source name of an input -> the node that now stands there.
        kept: source names of constant inputs that are still what they were.
    """

    index: int
    nodes: list[fx.Node]
    match: Match = Match.CHANGED
    renamed: dict[str, fx.Node] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    @property
    def body(self) -> list[fx.Node]:
        return [node for node in self.nodes if not is_member(node)]


class Matcher:
    """Compares a graph with the importer's reading of its source."""

    def __init__(self, current: fx.GraphModule, reference: fx.GraphModule, source: Source) -> None:
        self.current, self.reference, self.source = current, reference, source
        self._reference_parts = {
            (node.meta["source"][0], node.meta["part"]): node
            for node in reference.graph.nodes
            if node.meta.get("source") and node.op != "get_attr"
        }
        self._constants = {
            node.meta["value"]: attribute(reference, node)
            for node in reference.graph.nodes
            if node.op == "get_attr" and node.meta.get("value")
        }

    def groups(self, nodes: list[fx.Node]) -> dict[int, Group]:
        """The groups among `nodes`, by index of their source node."""
        found: dict[int, Group] = {}
        for node in nodes:
            if is_from_source(node):
                index = node.meta["source"][0]
                found.setdefault(index, Group(index, [])).nodes.append(node)
        alive = set(nodes)
        for group in found.values():
            group.match = self._match(group, alive)
        return found

    def is_as_read(self, node: fx.Node) -> bool:
        """Whether a get_attr still has the value that was read for its name."""
        name = node.meta.get("value")
        return name in self._constants and equal(attribute(self.current, node), self._constants[name])

    def is_kept(self, node: fx.Node) -> bool:
        """Whether a get_attr can be written as the source's own constant."""
        return node.meta.get("value") in self.source.constants and self.is_as_read(node)

    def _match(self, group: Group, alive: set[fx.Node]) -> Match:
        current = {node.meta["part"]: node for node in group.nodes}
        expected = {part: node for (index, part), node in self._reference_parts.items() if index == group.index}
        missing = [node for part, node in expected.items() if part not in current and not is_member(node)]
        if len(current) < len(group.nodes) or missing or current.keys() - expected.keys() or self._leaks(group, alive):
            return Match.CHANGED
        results = [self._compare(group, expected[part], node) for part, node in current.items()]
        if Match.CHANGED in results or not self._all_inputs_known(group, expected.values()):
            return Match.CHANGED
        if Match.TENSORS not in results:
            return Match.SAME
        is_one_layer = len(group.body) == 1 or self.source.nodes[group.index].op_type in ("Conv", "ConvTranspose")
        return Match.TENSORS if is_one_layer else Match.CHANGED

    def _leaks(self, group: Group, alive: set[fx.Node]) -> bool:
        """Whether someone else uses a value that the source node does not give out."""
        inner = [node for node in group.nodes if self._expected(node) is not None and not self._gives(node)]
        return any(user in alive and user not in group.nodes for node in inner for user in node.users)

    def _expected(self, node: fx.Node) -> fx.Node | None:
        return self._reference_parts.get((node.meta["source"][0], node.meta["part"]))

    def _gives(self, node: fx.Node) -> bool:
        expected = self._expected(node)
        return expected is not None and expected.meta.get("value") is not None

    def _compare(self, group: Group, expected: fx.Node, node: fx.Node) -> Match:
        if node.op != expected.op or not literals_equal(node.kwargs, expected.kwargs):
            return Match.CHANGED
        if not self._compare_arguments(group, expected, node):
            return Match.CHANGED
        if node.op == "call_function":
            return Match.SAME if node.target is expected.target else Match.CHANGED
        return same_module(
            self.current.get_submodule(str(node.target)), self.reference.get_submodule(str(expected.target))
        )

    def _compare_arguments(self, group: Group, expected: fx.Node, node: fx.Node) -> bool:
        if len(node.args) != len(expected.args):
            return False
        return all(self._compare_argument(group, e, c) for e, c in zip(expected.args, node.args, strict=True))

    def _compare_argument(self, group: Group, expected: Any, current: Any) -> bool:
        if not isinstance(expected, fx.Node) or not isinstance(current, fx.Node):
            return literals_equal(expected, current)
        if expected.op != "get_attr" and expected.meta.get("source") == (group.index,):
            return is_from_source(current) and self._expected(current) is expected
        name = expected.meta.get("value")
        if expected.op == "get_attr":
            is_same = current.op == "get_attr" and equal(
                attribute(self.current, current), attribute(self.reference, expected)
            )
            if name is None or (is_same and name in self.source.constants):
                return is_same
        return name is not None and group.renamed.setdefault(name, current) is current

    def _all_inputs_known(self, group: Group, expected: Any) -> bool:
        """Every input of the source node is an argument, or constant."""
        arguments = {
            argument.meta.get("value") for node in expected for argument in node.all_input_nodes if is_node(argument)
        }
        names = self.source.needs(group.index)
        group.kept = [name for name in names if name in self.source.constants and name not in group.renamed]
        return all(name in arguments or name in self.source.constants for name in names)


def is_node(value: Any) -> bool:
    return isinstance(value, fx.Node)


def is_member(node: fx.Node) -> bool:
    """Whether a node takes one value out of a tuple."""
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def is_from_source(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_module") and len(node.meta.get("source", ())) == 1 and "part" in node.meta


def attribute(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return getattr(module, str(node.target))


def equal(a: Tensor, b: Tensor) -> bool:
    """Same type, shape and bits, wherever they are."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.detach().cpu(), b.detach().cpu())


def literals_equal(a: Any, b: Any) -> bool:
    return a == b or repr(a) == repr(b)  # the latter for NaN


def same_module(current: nn.Module, expected: nn.Module) -> Match:
    if not isinstance(current, type(expected)):
        return Match.CHANGED
    if isinstance(expected, OpaqueNode):
        assert isinstance(current, OpaqueNode)
        return Match.SAME if current.node == expected.node else Match.CHANGED
    for name in HYPERPARAMETERS:
        if getattr(current, name, None) != getattr(expected, name, None):
            return Match.CHANGED
    return Match.SAME if _same_tensors(current, expected) else Match.TENSORS


def _same_tensors(current: nn.Module, expected: nn.Module) -> bool:
    if getattr(current, "groups", 1) != getattr(expected, "groups", 1):
        return False
    for name, tensor in tensors(expected):
        found = getattr(current, name)
        if formula_of(current, name) is not None or found is None or not equal(found, tensor):
            return False
    return {name for name, _ in tensors(current)} <= {name for name, _ in tensors(expected)}


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers that a file holds."""
    yield from ((name, tensor) for name, tensor in module.named_parameters(recurse=False))
    yield from ((name, t) for name, t in module.named_buffers(recurse=False) if name not in NOT_STORED)


def renamed_copy(node: NodeProto, inputs: dict[str, str], outputs: dict[str, str]) -> NodeProto:
    """The node with other value names, inside its subgraphs too."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _rename(copy, inputs)
    copy.output[:] = [outputs.get(name, name) for name in node.output]
    return copy


def _rename(node: NodeProto, names: dict[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    for holder in node.attribute:
        for graph in [*holder.graphs, *([holder.g] if holder.HasField("g") else [])]:
            for inner in graph.node:
                _rename(inner, names)
            for output in graph.output:
                output.name = names.get(output.name, output.name)
