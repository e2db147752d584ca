"""Where quantisers go, so that a runtime finds its integer kernels.

A kernel is picked where all inputs of an operator come from integers and its result goes to integers, with nothing
between the operator and its rounding: so quantisers stand behind a fused ReLU, not before it; an operator that only
moves elements shares its input's quantiser and is then done on the integers themselves; residual sums and pools are
quantised too, as one of them left in floats would cost a conversion on either side.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import getitem
from typing import cast

import torch
from torch import fx, nn

from core.network.ops import activations, arithmetic, padding, pool, same_padding, shape

MOVES = {
    pool.max_pool,
    shape.reshape,
    shape.reshape_to,
    shape.flatten,
    shape.transpose,
    shape.squeeze,
    shape.unsqueeze,
    shape.slice_,
    shape.slice_by,
    shape.slice_at,
    padding.pad,
    padding.pad_by,
    same_padding.pad_same,
    same_padding.crop_to,
    shape.take,
    shape.depth_to_space,
    shape.space_to_depth,
    activations.identity,
}
"""Functions whose result holds only values of their first argument (and zeros): its quantiser is theirs."""

SPLITS = {shape.split, shape.split_by, shape.split_evenly}

COMPUTES = {
    arithmetic.add,
    arithmetic.mul,
    pool.average_pool,
    pool.global_average_pool,
    activations.leaky_relu,
    torch.sigmoid,
    shape.concat,
}
"""Functions for which onnxruntime has an integer kernel."""


Bounds = tuple[float, float | None]
"""Least and greatest value of an activation; None for no bound."""


def quantized_values(graph: fx.GraphModule, layers: Iterable[fx.Node]) -> list[list[fx.Node]]:
    """The nodes whose values are to be rounded, in groups that share a quantiser, in graph order.

    Args:
        layers: the calls of the layers that are to run on integers.
    """
    return _Placement(graph, set(layers)).groups()


class _Placement:
    def __init__(self, graph: fx.GraphModule, layers: set[fx.Node]) -> None:
        self.graph, self.layers = graph, layers
        self.nodes = list(graph.graph.nodes)
        self.leads_to_layer = self._ancestors()
        self.marked: set[fx.Node] = set()
        self.parent: dict[fx.Node, fx.Node] = {}

    def groups(self) -> list[list[fx.Node]]:
        count = -1
        while count != len(self.marked):  # marking one value can make another operator's inputs complete
            count = len(self.marked)
            for node in self.nodes:
                self._visit(node)
        found: dict[fx.Node, list[fx.Node]] = {}
        for node in self.nodes:
            if node in self.marked:
                found.setdefault(self._root(node), []).append(node)
        return list(found.values())

    def _ancestors(self) -> set[fx.Node]:
        """Values from which a layer is reached through operators on integers alone."""
        found: set[fx.Node] = set()
        for node in reversed(self.nodes):
            passes_on = node.target in COMPUTES or _moved(node) is not None or self._activation(node) is not None
            if node in self.layers or (node in found and passes_on):
                found.update(_values(node))
        return found

    def _visit(self, node: fx.Node) -> None:
        if node in self.layers:
            self.marked.add(_values(node)[0])
            if isinstance(self._module(node), nn.modules.conv._ConvNd):
                self.marked.add(self._rounded(node))
        elif (source := _moved(node)) is not None:
            if source in self.marked and (node in self.leads_to_layer or node in self.marked):
                self.marked.add(node)
                self._tie(source, node)
        elif node.target in COMPUTES and node in self.leads_to_layer:
            self._visit_operator(node)

    def _visit_operator(self, node: fx.Node) -> None:
        values = _values(node)
        if len(values) < len(node.all_input_nodes) or not self.marked.intersection(values):
            return  # a constant operand would have to be rounded too
        self.marked.update(values)
        self.marked.add(self._rounded(node))
        if node.target is shape.concat and len({self._bounds(value) for value in values}) == 1:
            for value in values:
                self._tie(self._rounded(node), value)

    def _bounds(self, value: fx.Node) -> Bounds | None:
        """Of the activation that is left to a value's rounding: shared with wider ones, its range would not do that."""
        while (source := _moved(value)) is not None:
            value = source
        return self._activation(value)

    def _rounded(self, node: fx.Node) -> fx.Node:
        """The node behind which its result is rounded: itself, or the activation that is fused with it."""
        users = list(node.users)
        return users[0] if len(users) == 1 and self._activation(users[0]) is not None else node

    def _activation(self, node: fx.Node) -> Bounds | None:
        """Bounds of an activation that rounding to unsigned integers does as well; None for any other node."""
        if node.target is activations.relu or isinstance(self._module(node), nn.ReLU):
            return 0.0, None
        is_clip = node.target is activations.clip and node.kwargs["low"] == 0
        return (0.0, cast("float | None", node.kwargs["high"])) if is_clip else None

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _root(self, node: fx.Node) -> fx.Node:
        while node in self.parent:
            node = self.parent[node]
        return node

    def _tie(self, a: fx.Node, b: fx.Node) -> None:
        a, b = self._root(a), self._root(b)
        if a is not b:
            self.parent[b] = a


def _values(node: fx.Node) -> list[fx.Node]:
    """Arguments that depend on the network's input, not counting sizes that only shape the result."""
    source = _moved(node)
    return _dynamic(node) if source is None else [source]


def _moved(node: fx.Node) -> fx.Node | None:
    """The value whose elements a node only moves; for a part of a split, what was split."""
    if node.target is getitem:
        node = node.all_input_nodes[0]
        return _dynamic(node)[0] if node.target in SPLITS and _dynamic(node) else None
    return _dynamic(node)[0] if node.target in MOVES and _dynamic(node) else None


def _dynamic(node: fx.Node) -> list[fx.Node]:
    return [argument for argument in node.args if isinstance(argument, fx.Node) and argument.op != "get_attr"]
