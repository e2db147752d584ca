"""Which source nodes the normal form still says exactly, found by comparing with what the importer makes of them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor, fx, nn

from core.formulas import formula_of
from core.network.marks import Mark
from core.network.opaque import OpaqueNode
from core.network.reading import Part, Reading, groups_of, settings, stored
from core.network.source import Source

AROUND_A_LAYER = {"Conv", "ConvTranspose", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
"""Operators that become a layer with other nodes around it, and can be written from the layer alone."""


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
        is_as_read: whether the nodes are what the importer makes of the source node, whatever their inputs are called.
    """

    index: int
    nodes: list[fx.Node]
    match: Match = Match.CHANGED
    renamed: dict[str, fx.Node] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    is_as_read: bool = False

    @property
    def body(self) -> list[fx.Node]:
        return [node for node in self.nodes if not is_member(node)]


class Matcher:
    """Compares a graph with the importer's reading of its source.

    Attributes:
        held: tensors of the graph whose bytes are still those of an initialiser, by its name.
    """

    def __init__(self, current: fx.GraphModule, reading: Reading, source: Source) -> None:
        self.current, self.reading, self.source = current, reading, source
        self.held: dict[str, Tensor] = {}
        self._as_read: dict[fx.Node, bool] = {}

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
        if node not in self._as_read:
            mark = self.reading.constants.get(node.meta.get("value") or "")
            self._as_read[node] = mark is not None and self._fits(attribute(self.current, node), mark)
        return self._as_read[node]

    def _fits(self, tensor: Tensor, mark: Mark) -> bool:
        fits = mark.fits(tensor)
        if fits and mark.name is not None:
            self.held[mark.name] = tensor
        return fits

    def is_kept(self, node: fx.Node) -> bool:
        """Whether a get_attr can be written as the source's own constant."""
        return node.meta.get("value") in self.source.constants and self.is_as_read(node)

    def _match(self, group: Group, alive: set[fx.Node]) -> Match:
        current = {node.meta["part"]: node for node in group.nodes}
        expected = self.reading.parts.get(group.index, {})
        missing = [read for part, read in expected.items() if part not in current and not is_member(read)]
        if len(current) < len(group.nodes) or missing or current.keys() - expected.keys() or self._leaks(group, alive):
            return Match.CHANGED
        results = [self._compare(group, expected[part], node) for part, node in current.items()]
        group.is_as_read = set(results) == {Match.SAME}
        if Match.CHANGED in results or not self._all_inputs_known(group, expected.values()):
            return Match.CHANGED
        if Match.TENSORS not in results:
            return Match.SAME
        is_one_layer = len(group.body) == 1 or self.source.nodes[group.index].op_type in AROUND_A_LAYER
        return Match.TENSORS if is_one_layer else Match.CHANGED

    def _leaks(self, group: Group, alive: set[fx.Node]) -> bool:
        """Whether someone else uses a value that the source node does not give out."""
        inner = [node for node in group.nodes if self._expected(node) is not None and not self._gives(node)]
        return any(user in alive and user not in group.nodes for node in inner for user in node.users)

    def _expected(self, node: fx.Node) -> Part | None:
        return self.reading.parts.get(node.meta["source"][0], {}).get(node.meta["part"])

    def _gives(self, node: fx.Node) -> bool:
        expected = self._expected(node)
        return expected is not None and expected.value is not None

    def _compare(self, group: Group, expected: Part, node: fx.Node) -> Match:
        if node.op != expected.op or not literals_equal(node.kwargs, expected.kwargs):
            return Match.CHANGED
        if not self._compare_arguments(group, expected, node):
            return Match.CHANGED
        if node.op == "call_function":
            return Match.SAME if node.target is expected.target else Match.CHANGED
        return self._compare_module(self.current.get_submodule(str(node.target)), expected)

    def _compare_arguments(self, group: Group, expected: Part, node: fx.Node) -> bool:
        if len(node.args) != len(expected.args):
            return False
        return all(self._compare_argument(group, e, c) for e, c in zip(expected.args, node.args, strict=True))

    def _compare_argument(self, group: Group, expected: Any, current: Any) -> bool:
        if not isinstance(expected, Part) or not isinstance(current, fx.Node):
            return not isinstance(expected, Part) and literals_equal(expected, current)
        if expected.source is not None and expected.source[0] == group.index:
            return is_from_source(current) and self._expected(current) is expected
        name = expected.value
        if expected.op == "get_attr":
            is_same = current.op == "get_attr" and self._is_still(current, expected)
            if name is None or (is_same and name in self.source.constants):
                return is_same
        return name is not None and group.renamed.setdefault(name, current) is current

    def _is_still(self, current: fx.Node, expected: Part) -> bool:
        if current.meta.get("value") == expected.value and expected.value is not None:
            return self.is_as_read(current)
        return self._fits(attribute(self.current, current), expected.marks[expected.target])

    def _compare_module(self, current: nn.Module, expected: Part) -> Match:
        record = expected.module
        assert record is not None
        if not isinstance(current, record.kind):
            return Match.CHANGED
        if record.node is not None:
            assert isinstance(current, OpaqueNode)
            return Match.SAME if current.node == record.node else Match.CHANGED
        if settings(current) != record.settings:
            return Match.CHANGED
        return Match.SAME if self._same_tensors(current, expected) else Match.TENSORS

    def _same_tensors(self, current: nn.Module, expected: Part) -> bool:
        assert expected.module is not None
        if {name for name, _ in stored(current)} != expected.marks.keys():
            return False
        if groups_of(current) != expected.module.groups:
            return False
        return all(
            formula_of(current, name) is None and self._fits(getattr(current, name), mark)
            for name, mark in expected.marks.items()
        )

    def _all_inputs_known(self, group: Group, expected: Any) -> bool:
        """Every input of the source node is an argument, or constant."""
        arguments = {argument.value for read in expected for argument in read.args if isinstance(argument, Part)}
        names = self.source.needs(group.index)
        group.kept = [name for name in names if name in self.source.constants and name not in group.renamed]
        return all(name in arguments or name in self.source.constants for name in names)


def is_member(node: fx.Node | Part) -> bool:
    """Whether a node takes one value out of a tuple."""
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def is_from_source(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_module") and len(node.meta.get("source", ())) == 1 and "part" in node.meta


def attribute(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return getattr(module, str(node.target))


def literals_equal(a: Any, b: Any) -> bool:
    return a == b or repr(a) == repr(b)  # the latter for NaN
