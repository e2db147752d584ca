"""Pushing identities through a network: what every rule works with."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from core.formulas import Formula, computed, formula_of
from core.network.channels.carriers import Axes, Carried, Carrier
from core.network.channels.identities import NONE, Identities, Ids
from core.network.channels.shuffles import Shuffle, find_shuffles
from core.network.channels.units import Balance, Channels, Drop, Indices, Literal, ParameterAxis, Pick
from core.network.network import Network

Rule = Callable[["Trace", fx.Node], Any]

RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """Register how identities pass a function or a type of module: the carriers of its output, or a list of them."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return register


class Trace:
    """One pass over the graph, in order.

    Attributes:
        approximate: whether channels that a normalisation averages over may go.
        laid_out: places of computed shapes, each with its node, that are right after every cut.
        chains: nodes that only pick channels, each with the value that it picks from.
    """

    def __init__(self, network: Network, shapes: dict[fx.Node, Any], approximate: bool = False) -> None:
        self.network, self.graph = network, network.graph
        self.shapes = shapes
        self.approximate = approximate
        self.identities = Identities()
        self.parameters: list[ParameterAxis] = []
        self.literals: list[Literal] = []
        self.indices: list[Indices] = []
        self.picks: list[Pick] = []
        self.drops: list[Drop] = []
        self.balances: list[Ids] = []
        self.blocks: list[tuple[Ids, str]] = []
        self.steadies: list[tuple[Ids, int, str]] = []
        self.averaged: list[Ids] = []
        self.alike: list[tuple[Ids, Ids, str]] = []
        self.laid_out: set[tuple[fx.Node, int]] = set()
        self.chains: dict[fx.Node, fx.Node] = {}
        self._carried: dict[fx.Node, Any] = {}
        self._weights: dict[tuple[int, int], Ids] = {}
        self._layers = {str(layer.node.target): layer.name for layer in network.layers()}

    def run(self) -> None:
        """Pass every node."""
        shuffles, inner = find_shuffles(self.graph, self.shapes)
        roots = inner | {end: shuffle.root for end, shuffle in shuffles.items()}
        picked: dict[fx.Node, set[int]] = defaultdict(set)
        for shuffle in shuffles.values():
            picked[shuffle.root].add(shuffle.axis)
        for node in self.graph.graph.nodes:
            if node.op == "output":
                for value in node.all_input_nodes:
                    self.lock_all(value, "it is an output of the model")
            elif node in roots and self._has_only(roots[node], picked[roots[node]]):
                self._carried[node] = self._shuffled(node, shuffles[node]) if node in shuffles else self.blank(node)
                self.chains[node] = roots[node]
            else:
                self._carried[node] = self._pass(node)

    def _pass(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return []
        if node.op == "get_attr":
            return []
        if node.target is operator.getitem:
            value, place = node.args
            assert isinstance(value, fx.Node)
            assert isinstance(place, int)
            return self._carried[value][place]
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

    def _has_only(self, root: fx.Node, axes: set[int]) -> bool:
        """Whether channels lie along this one axis and nowhere else."""
        return [carrier.axes for carrier in self.carriers(root)] == [tuple(axes)]

    def _shuffled(self, node: fx.Node, shuffle: Shuffle) -> Carried:
        return self.picked(node, shuffle.root, shuffle.axis, shuffle.positions)

    # what rules ask

    def module(self, node: fx.Node) -> nn.Module:
        return self.graph.get_submodule(str(node.target))

    def module_named(self, owner: str) -> nn.Module:
        return self.graph.get_submodule(owner)

    def name(self, node: fx.Node) -> str:
        """The operator, in words that a user knows: its layer, or its first output."""
        source = node.meta.get("source")
        outputs = self.network.index.nodes[source[0]].output if source else []
        return str(node.meta.get("layer") or node.meta.get("value") or next(filter(None, outputs), node.name))

    def tensor(self, owner: str, name: str) -> Tensor:
        found = getattr(self.graph.get_submodule(owner), name)
        assert isinstance(found, Tensor)
        return found

    def shape(self, node: Any) -> Sequence[int]:
        """Shape of a node's only value."""
        return self.shapes[node]

    def carriers(self, node: Any) -> Carried:
        """The carriers of a value that reaches a rule."""
        return self._carried[node]

    def carry(self, node: fx.Node, carrier: Carrier) -> None:
        """Give a value channels that it had not when it was passed."""
        self._carried[node] = [*self.carriers(node), carrier]

    def is_passed(self, node: fx.Node) -> bool:
        return node in self._carried

    def carrier(self, node: Any, axis: int) -> Carrier | None:
        """The carrier that an axis belongs to; negative axes count from the end."""
        axis %= max(len(self.shape(node)), 1)
        return next((carrier for carrier in self.carriers(node) if axis in carrier.axes), None)

    def ids(self, node: Any, axis: int) -> Ids | None:
        """Identities along one axis, if it carries any; a block that it is part of is first held together by rows."""
        carrier = self.carrier(node, axis)
        if carrier is not None and carrier.is_block:
            for other in carrier.axes[1:]:
                self.settle(node, other, "")
            carrier = self.carrier(node, axis)
        return None if carrier is None else carrier.ids

    def axes(self, node: Any) -> Axes:
        """The axes of a value one by one."""
        return [self.ids(node, axis) for axis in range(len(self.shape(node)))]

    def channel_ids(self, node: Any, axis: int, reason: str = "it comes straight from the model's input") -> Ids:
        """Identities along an axis, made and locked if the axis carries none."""
        found = self.ids(node, axis)
        if found is None:
            found = self.locked(self.shape(node)[axis], reason)
            axis %= len(self.shape(node))
            self._carried[node] = [*self.carriers(node), Carrier((axis,), found)]
        return found

    def is_zero(self, node: Any, axis: int) -> bool:
        """Whether channels along an axis are 0 once their parameters are."""
        carrier = self.carrier(node, axis)
        return carrier is not None and carrier.zero

    def blank(self, node: fx.Node) -> Any:
        """An output without channels."""
        shape = self.shapes[node]
        return [[] for _ in shape] if isinstance(shape, list) else []

    # what rules do

    def fresh(self, count: int) -> Ids:
        return self.identities.fresh(count)

    def locked(self, count: int, reason: str) -> Ids:
        ids = self.fresh(count)
        self.identities.lock(ids, reason)
        return ids

    def lock_all(self, node: fx.Node, reason: str) -> None:
        carried = self._carried[node]
        for one in carried if carried and isinstance(carried[0], list) else [carried]:
            for carrier in one:
                self.lock(carrier.ids, reason)

    def lock_others(self, node: Any, axes: Iterable[int], reason: str) -> None:
        """Settle every axis but these."""
        kept = {axis % len(self.shape(node)) for axis in axes}
        for axis in range(len(self.shape(node))):
            if axis not in kept:
                self.settle(node, axis, reason)

    def only(self, node: Any, axes: Sequence[int], reason: str) -> Carried:
        """Settle every axis but these; gives back the carriers that have these alone."""
        self.lock_others(node, axes, reason)
        return [carrier for carrier in self.carriers(node) if set(carrier.axes) <= set(axes)]

    def lock(self, ids: Ids | None, reason: str) -> None:
        if ids is not None:
            self.identities.lock(ids, reason)

    def unite(self, first: Ids, second: Ids) -> Ids:
        self.identities.unite(first, second)
        return first

    def settle(self, node: Any, axis: int, reason: str) -> None:
        """Nothing along this axis can go by itself: a block is held together along it, a lone axis is locked."""
        carrier = self.carrier(node, axis)
        if carrier is None:
            return
        if not carrier.is_block:
            self.lock(carrier.ids, reason)
            return
        place = carrier.axes.index(axis % len(self.shape(node)))
        first = carrier.ids.take(0, axis=place)
        self.unite(np.broadcast_to(np.expand_dims(first, place), carrier.ids.shape), carrier.ids)
        rest = replace(carrier, axes=carrier.axes[:place] + carrier.axes[place + 1 :], ids=first)
        self._carried[node] = [rest if other is carrier else other for other in self.carriers(node)]

    def parameter(
        self, owner: str, name: str, axis: int, ids: Ids, produces: bool = False, parts: Ids | None = None
    ) -> None:
        """An axis of a tensor; a tensor that several layers share has one set of identities."""
        known = self._weights.setdefault((id(self._held(owner, name)), axis), ids if parts is None else parts)
        if known is not ids and known is not parts:
            self.unite(known, ids if parts is None else parts)
        self.parameters.append(ParameterAxis(owner, name, axis, ids, produces, parts))

    def _held(self, owner: str, name: str) -> Any:
        module = self.graph.get_submodule(owner)
        formula = formula_of(module, name) if owner else None
        return getattr(module, name) if formula is None else formula

    def is_plain(self, owner: str, name: str) -> bool:
        """Whether no formula computes the tensor."""
        return not isinstance(self._held(owner, name), Formula)

    def is_cuttable(self, owner: str, name: str) -> bool:
        """Whether the tensor is plain, or computed by a formula that knows how to select."""
        found = self._held(owner, name)
        return not isinstance(found, Formula) or found.selectable

    def count(
        self, node: fx.Node, name: str, position: int | None, ids: Ids, axis: int = 0, beside: Ids = NONE
    ) -> None:
        """A literal of the node that counts channels."""
        self.literals.append(Literal(node, name, position, ids, axis, beside=beside))

    def positions(self, node: fx.Node, name: str, axis_ids: Ids, places: Sequence[int]) -> None:
        """A literal list of the node that names channels by position."""
        self.indices.append(Indices(node, name, axis_ids, np.asarray(places, dtype=np.int64)))

    def picked(self, node: fx.Node, root: fx.Node, axis: int, positions: Ids) -> Carried:
        """The node has what `root` has, at these positions along an axis."""
        ids = self.ids(root, axis)
        if ids is None:
            return list(self.carriers(root))
        self.picks.append(Pick(node, root, axis, ids, positions))
        return [
            replace(carrier, ids=carrier.ids[positions]) if carrier.axes == (axis,) else carrier
            for carrier in self.carriers(root)
        ]

    def pick_anew(self, root: fx.Node, ids: Ids) -> None:
        """What is picked from `root` is picked in other words when one of these goes."""
        self.picks = [
            replace(pick, beside=np.concatenate([pick.beside, ids.reshape(-1)])) if pick.root is root else pick
            for pick in self.picks
        ]

    def balance(self, ids: Ids) -> None:
        """Rows that must keep equally many channels."""
        self.balances.append(ids)

    def same(self, ids: Ids, others: Ids, reason: str) -> None:
        """These have to be the same channels as those."""
        self.alike.append((ids, others, reason))

    def block(self, ids: Ids, name: str) -> None:
        """Channels that were laid out as a block, which must stay one."""
        self.blocks.append((ids, name))

    def drop(self, node: fx.Node, argument: int, ids: Ids) -> None:
        """An argument that says nothing, left out when one of the channels goes."""
        self.drops.append(Drop(node, argument, ids.reshape(-1)))

    def steady(self, ids: Ids, axis: int, reason: str) -> None:
        """No index along an axis of this block may go as a whole."""
        self.steadies.append((ids, axis, reason))

    # the end

    def resolved(self) -> Channels:
        """The units, once every node is passed."""
        self._hold_shared()
        unit, _ = self.identities.resolve()
        for ids, others, reason in self.alike:
            if not np.array_equal(np.unique(unit[ids]), np.unique(unit[others])):
                for either in (ids, others):
                    self.identities.lock(either, reason)
        for ids, name in self.blocks:
            if _stays_a_block(unit[ids]):
                continue
            if ids.ndim == 2:
                self.balances.append(ids)
            else:
                self.identities.lock(ids, f"{name} lays it out along {ids.ndim} axes that differ")
        for ids, axis, reason in self.steadies:
            if _stays_a_block(unit[ids]) and _differs(unit[ids], axis):
                self.identities.lock(ids, reason)
        unit, locked = self.identities.resolve()
        averaged = [np.unique(unit[ids]) for ids in self.averaged]
        return Channels(
            count=int(unit.max(initial=-1)) + 1,
            axes=[
                replace(axis, ids=unit[axis.ids], parts=None if axis.parts is None else unit[axis.parts])
                for axis in self.parameters
            ],
            literals=[
                replace(literal, ids=unit[literal.ids], beside=unit[literal.beside]) for literal in self.literals
            ],
            indices=[replace(indices, axis_ids=unit[indices.axis_ids]) for indices in self.indices],
            drops=[replace(drop, ids=unit[drop.ids]) for drop in self.drops],
            picks=[replace(pick, axis_ids=unit[pick.axis_ids], beside=unit[pick.beside]) for pick in self.picks],
            balances=[Balance(unit[ids]) for ids in self.balances],
            locked=locked,
            layer_names=self._layers,
            approximate=np.unique(np.concatenate(averaged)) if averaged else np.empty(0, dtype=np.int64),
        )

    def _hold_shared(self) -> None:
        """A tensor that several nodes hold is cut for all of them: its axes stay where one met no channels there."""
        holders: dict[int, dict[tuple[str, str], fx.Node]] = defaultdict(dict)
        for node in self.graph.graph.nodes:
            for owner, name in self._tensors(node):
                holders[id(self._held(owner, name))][owner, name] = node
        met = {(axis.owner, axis.tensor, axis.axis) for axis in self.parameters}
        for axis in list(self.parameters):
            for place, node in holders[id(self._held(axis.owner, axis.tensor))].items():
                if (*place, axis.axis) not in met:
                    self.lock(axis.occurring, f"{self.name(node)} is also used where it can't be cut")

    def _tensors(self, node: fx.Node) -> list[tuple[str, str]]:
        """What a node holds: the module and the name there, "" being the graph itself."""
        if node.op == "get_attr":
            return [("", str(node.target))]
        if node.op != "call_module":
            return []
        found = []
        for inner, part in self.module(node).named_modules(prefix=str(node.target)):
            if not isinstance(part, Formula):
                found += [(inner, name) for name in (*part._parameters, *part._buffers, *computed(part))]
        return [(owner, name) for owner, name in found if self._held(owner, name) is not None]


def _stays_a_block(units: Ids) -> bool:
    """Whether the units differ along one axis at most, so that a block is left whatever goes."""
    return sum(_differs(units, axis) for axis in range(units.ndim)) <= 1


def _differs(units: Ids, axis: int) -> bool:
    return bool((units != units.take([0], axis=axis)).any())
