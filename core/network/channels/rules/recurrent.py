"""How identities of channels pass recurrent layers: a hidden unit is a row of every gate and a column."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import follow, is_nothing
from core.network.channels.identities import Ids
from core.network.channels.rules.layers import FORMULA
from core.network.channels.trace import Trace, rule
from core.network.ops.recurrent import Recurrent


@rule(Recurrent)
def pass_recurrent(trace: Trace, node: fx.Node) -> list[Carried]:
    """Directions have units of their own and keep equally many, unless an initial state ties them."""
    module, owner = trace.module(node), str(node.target)
    assert isinstance(module, Recurrent)
    x, *rest = node.args
    trace.lock_others(x, [2], f"{trace.name(node)} walks along it")
    inputs = trace.channel_ids(x, 2)
    hidden = np.stack([trace.fresh(module.hidden_size) for _ in module.suffixes])  # (directions, hidden)
    for suffix, ids in zip(module.suffixes, hidden, strict=True):
        _direction(trace, owner, module, suffix, inputs, ids)
    for place, state in enumerate(rest[1:], start=2):
        if isinstance(state, fx.Node) and state.op != "get_attr" and is_nothing(trace, state):
            trace.drop(node, place, hidden)
        elif isinstance(state, fx.Node):
            _start(trace, node, state, hidden)
    outputs, states = ((2, 3), (1, 2)) if module.options.layout else ((1, 3), (0, 2))
    if len(hidden) == 2:
        trace.block(hidden, trace.name(node))
        return [[Carrier(outputs, hidden)], *([Carrier(states, hidden)] for _ in range(module.states))]
    return [[Carrier(outputs[1:], hidden[0])], *([Carrier(states[1:], hidden[0])] for _ in range(module.states))]


def _direction(trace: Trace, owner: str, module: Recurrent, suffix: str, inputs: Ids, ids: Ids) -> None:
    rows = np.tile(ids, len(module.order))
    trace.parameter(owner, f"weight_ih_l0{suffix}", 0, rows, produces=True)
    trace.parameter(owner, f"weight_ih_l0{suffix}", 1, inputs)
    trace.parameter(owner, f"weight_hh_l0{suffix}", 0, rows, produces=True)
    trace.parameter(owner, f"weight_hh_l0{suffix}", 1, ids)
    for name in ("bias_ih_l0", "bias_hh_l0"):
        if module.find(f"{name}{suffix}") is not None:
            trace.parameter(owner, f"{name}{suffix}", 0, rows, produces=True)
    if module.find(f"peepholes{suffix}") is not None:
        trace.parameter(owner, f"peepholes{suffix}", 0, np.tile(ids, 3))
    if not all(trace.is_cuttable(owner, f"{name}{suffix}") for name in ("weight_ih_l0", "weight_hh_l0")):
        trace.lock(inputs, FORMULA)
        trace.lock(ids, FORMULA)


def _start(trace: Trace, node: fx.Node, state: Any, hidden: Ids) -> None:
    """An initial state has a number for every hidden unit, and is cut with it."""
    carrier = trace.carrier(state, 2)
    if carrier is not None and carrier.ids.shape == hidden.shape and len(hidden) == 2:
        trace.unite(hidden, carrier.ids)
        return
    if state.op == "get_attr" and len(state.users) == 1 and trace.shape(state)[0] == len(hidden):
        trace.parameter("", str(state.target), 2, hidden[0], parts=hidden)
        return
    for ids in hidden[1:]:
        trace.unite(hidden[0], ids)
    known = trace.ids(state, 2)
    if known is not None:
        trace.unite(hidden[0], known)
    elif not follow(trace, state, -1, hidden[0]):
        trace.lock(hidden, f"{trace.name(node)} starts from {trace.name(state)}, which can't be cut")
