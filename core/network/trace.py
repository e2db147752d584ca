"""Pushing identities through a network: what every rule of `channel_rules.py` works with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from core.network import units
from core.network.identities import Identities, Ids
from core.network.network import Network
from core.network.units import Balance, Channels, Indices, Literal, ParameterAxis

Axes = list[Ids | None]
"""Per axis of a value the identity of each index; None where the axis carries no channels."""

Rule = Callable[["Trace", fx.Node], Any]

RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register how identities pass a function or a type of module: the axes of its output, or a list of them."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return register


class Trace:
    """One pass over the graph, in order."""

    def __init__(self, network: Network, shapes: dict[fx.Node, Any]) -> None:
        self.graph = network.graph
        self.shapes = shapes
        self.identities = Identities()
        self.parameters: list[ParameterAxis] = []
        self.literals: list[Literal] = []
        self.indices: list[Indices] = []
        self.balances: list[Balance] = []
        self._axes: dict[fx.Node, Any] = {}
        self._weights: dict[tuple[int, int], Ids] = {}
        self._layers = {str(layer.node.target): layer.name for layer in network.layers()}

    def run(self) -> Channels:
        for node in self.graph.graph.nodes:
            if node.op == "output":
                for value in node.all_input_nodes:
                    self.lock_all(value, "it is an output of the model")
            else:
                self._axes[node] = self._pass(node)
        return units.resolved(
            self.identities, self.parameters, self.literals, self.indices, self.balances, self._layers
        )

    def _pass(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return [None] * len(self.shape(node))
        if node.op == "get_attr":
            return [None] * self.tensor("", str(node.target)).dim()
        if node.target is operator.getitem:
            value, place = node.args
            assert isinstance(value, fx.Node)
            assert isinstance(place, int)
            return self._axes[value][place]
        found = self._rule(node)
        if found is None:
            for value in node.all_input_nodes:
                self.lock_all(value, f"{self.name(node)} gives no way to cut it")
            return self.blank(node)
        return found(self, node)

    def _rule(self, node: fx.Node) -> Rule | None:
        if node.op == "call_function":
            return RULES.get(node.target)
        kinds = type(self.module(node)).__mro__
        return next((RULES[kind] for kind in kinds if kind in RULES), None)

    # what rules ask

    def module(self, node: fx.Node) -> nn.Module:
        return self.graph.get_submodule(str(node.target))

    def module_named(self, owner: str) -> nn.Module:
        return self.graph.get_submodule(owner)

    def name(self, node: fx.Node) -> str:
        """The operator, in words that a user knows."""
        return str(node.meta.get("layer") or node.meta.get("value") or node.name)

    def tensor(self, owner: str, name: str) -> Tensor:
        found = getattr(self.graph.get_submodule(owner), name)
        assert isinstance(found, Tensor)
        return found

    def shape(self, node: Any) -> Sequence[int]:
        """Shape of a node's only value."""
        return self.shapes[node]

    def axes(self, node: Any) -> Axes:
        """The axes of a value that reaches a rule."""
        return self._axes[node]

    def channel_ids(self, node: Any, axis: int, reason: str = "it comes straight from the model's input") -> Ids:
        """Identities along an axis, made and locked if the axis carries none."""
        found = self.axes(node)[axis]
        if found is None:
            found = self.locked(self.shape(node)[axis], reason)
            self.axes(node)[axis] = found
        return found

    def blank(self, node: fx.Node) -> Any:
        """An output without channels."""
        shape = self.shapes[node]
        if isinstance(shape, list):
            return [[None] * len(one) for one in shape]
        return [None] * len(shape)

    # what rules do

    def fresh(self, count: int) -> Ids:
        return self.identities.fresh(count)

    def locked(self, count: int, reason: str) -> Ids:
        ids = self.fresh(count)
        self.identities.lock(ids, reason)
        return ids

    def lock_all(self, node: fx.Node, reason: str) -> None:
        axes = self._axes[node]
        for one in axes if axes and isinstance(axes[0], list) else [axes]:
            for ids in one:
                self.lock(ids, reason)

    def lock(self, ids: Ids | None, reason: str) -> None:
        if ids is not None:
            self.identities.lock(ids, reason)

    def unite(self, first: Ids, second: Ids) -> Ids:
        self.identities.unite(first, second)
        return first

    def parameter(
        self, owner: str, name: str, axis: int, ids: Ids, produces: bool = False, parts: Ids | None = None
    ) -> None:
        """An axis of a tensor; a tensor that several layers share has one set of identities."""
        tensor = self._parameter_object(owner, name)
        known = self._weights.setdefault((id(tensor), axis), ids)
        if known is not ids:
            self.unite(known, ids)
        self.parameters.append(ParameterAxis(owner, name, axis, ids, produces, parts))

    def _parameter_object(self, owner: str, name: str) -> Any:
        from core.formulas import formula_of

        module = self.graph.get_submodule(owner)
        formula = formula_of(module, name) if owner else None
        if formula is None:
            return getattr(module, name)
        return formula

    def is_plain(self, owner: str, name: str) -> bool:
        """Whether no formula computes the tensor."""
        from core.formulas import Formula

        return not isinstance(self._parameter_object(owner, name), Formula)

    def is_cuttable(self, owner: str, name: str) -> bool:
        """Whether the tensor is plain, or computed by a formula that knows how to select."""
        from core.formulas import Formula

        found = self._parameter_object(owner, name)
        return not isinstance(found, Formula) or found.selectable

    def count(self, node: fx.Node, name: str, position: int | None, ids: Ids) -> None:
        """A literal of the node that counts channels."""
        self.literals.append(Literal(node, name, position, ids))

    def positions(self, node: fx.Node, name: str, axis_ids: Ids, places: Sequence[int]) -> None:
        """A literal list of the node that names channels by position."""
        self.indices.append(Indices(node, name, axis_ids, np.asarray(places, dtype=np.int64)))

    def balance(self, ids: Ids) -> None:
        self.balances.append(Balance(ids))
