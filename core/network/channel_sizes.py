"""Numbers that count channels outside of weights: shapes that are computed, and constants that follow a cut."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from core.network.axis_runs import runs
from core.network.carriers import Carrier, trimmed
from core.network.identities import NONE, Ids
from core.network.ops import picking, resize, shape
from core.network.ops.computed_sizes import place_of_shape
from core.network.registry import BROADCASTING, ELEMENTWISE
from core.network.trace import Trace
from core.network.units import Literal

SIZES = {shape.shape_of, shape.size_of}
COMPUTED = {
    shape.reshape_to: (1,),
    shape.expand_to: (1,),
    shape.tile_by: (1,),
    shape.constant_of_shape: (0,),
    shape.range_: (0, 1, 2),
    shape.split_by: (1,),
    shape.slice_by: (1, 2),
    shape.slice_at: (1, 2, 3, 4),
    resize.resize_to: (1,),
    picking.top_k: (1,),
    picking.one_hot: (1,),
    picking.trilu: (1,),
}
"""Which arguments of a node are sizes or places."""

SIZED = {shape.expand, shape.expand_to}
RESHAPES = {shape.reshape, shape.reshape_to, shape.flatten}
SPREADING = SIZED | RESHAPES | {shape.slice_, shape.slice_by, shape.transpose, shape.squeeze, shape.unsqueeze}
SPREADING |= {shape.split, shape.gather, shape.take, shape.cast, operator.getitem}


def follow(trace: Trace, operand: fx.Node, axis: int, ids: Ids, reader: fx.Node | None = None) -> bool:
    """Cut a value without channels along with `ids`, if that can be done; `axis` counts from the end.

    A constant is cut like a weight; one that is expanded is expanded to fewer. What several nodes read has these
    channels from now on, if none of the others has been passed without.

    Args:
        reader: the node by which the cut came here, where that has been passed.
    """
    if len(operand.users) > 1 and operand.target in SIZED and _leave_as_one(trace, operand, axis, ids):
        return True
    others = [user for user in operand.users if user is not reader and user.target not in SIZES]
    if trace.carrier(operand, axis) is not None:
        return False
    if any(trace.is_passed(other) for other in others) or not _follow(trace, operand, axis, ids):
        return False
    if len(operand.users) > 1:
        trace.carry(operand, Carrier((len(trace.shape(operand)) + axis,), ids, zero=operand.op == "get_attr"))
    return True


def _follow(trace: Trace, operand: fx.Node, axis: int, ids: Ids) -> bool:
    if operand.op == "get_attr":
        trace.parameter("", str(operand.target), len(trace.shape(operand)) + axis, ids)
        return True
    if operand.op != "call_function":
        return False
    if operand.target is shape.constant_of_shape:
        return count_computed(trace, operand, len(trace.shape(operand)) + axis, ids)
    if operand.target in RESHAPES:
        return _follow_reshape(trace, operand, axis, ids)
    if operand.target in SIZED:
        return _expand_to_fewer(trace, operand, axis, ids)
    if operand.target in (shape.tile, shape.tile_by):
        return _follow_copies(trace, operand, axis, ids)
    if operand.target in MOVED:
        source = operand.args[0]
        assert isinstance(source, fx.Node)
        before = MOVED[operand.target](trace, operand, len(trace.shape(operand)) + axis)
        return before is not None and follow(trace, source, before - len(trace.shape(source)), ids, operand)
    if operand.target in ELEMENTWISE or operand.target in BROADCASTING or operand.target is shape.cast:
        parts = [
            part
            for part in operand.all_input_nodes
            if len(trace.shape(part)) >= -axis and trace.shape(part)[axis] == len(ids)
        ]
        return bool(parts) and all(
            trace.ids(part, axis) is None and follow(trace, part, axis, ids, operand) for part in parts
        )
    return False


def _before_transpose(trace: Trace, node: fx.Node, place: int) -> int | None:
    perm: Any = node.kwargs["perm"]
    return perm[place]


def _before_unsqueeze(trace: Trace, node: fx.Node, place: int) -> int | None:
    rank = len(trace.shape(node))
    axes: Any = node.kwargs["axes"]
    new = {axis % rank for axis in axes}
    return None if place in new else place - sum(axis < place for axis in new)


def _before_squeeze(trace: Trace, node: fx.Node, place: int) -> int | None:
    sizes = trace.shape(node.args[0])
    axes: Any = node.kwargs["axes"]
    gone = {axis for axis, size in enumerate(sizes) if size == 1} if axes is None else {a % len(sizes) for a in axes}
    return [axis for axis in range(len(sizes)) if axis not in gone][place]


def _before_slice(trace: Trace, node: fx.Node, place: int) -> int | None:
    rank = len(trace.shape(node))
    axes: Any = node.kwargs["axes"]
    return None if place in {axis % rank for axis in axes} else place


def _before_gather(trace: Trace, node: fx.Node, place: int) -> int | None:
    x, indices = node.args
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    grown = len(trace.shape(indices)) - 1
    if place < axis:
        return place
    return place - grown if place > axis + grown else None


MOVED = {
    shape.transpose: _before_transpose,
    shape.unsqueeze: _before_unsqueeze,
    shape.squeeze: _before_squeeze,
    shape.slice_: _before_slice,
    shape.slice_by: _before_slice,
    shape.gather: _before_gather,
}
"""Where an axis of a result was before; None for one that was not there, or was picked from."""


def _follow_copies(trace: Trace, node: fx.Node, axis: int, ids: Ids) -> bool:
    """What is copied is cut where all copies are cut alike."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    rows = ids.reshape(copies(trace, node)[axis], -1)
    return bool((rows == rows[:1]).all()) and follow(trace, source, axis, rows[0].copy(), node)


def copies(trace: Trace, node: fx.Node) -> list[int]:
    """How often a tile repeats each axis."""
    return [after // max(before, 1) for before, after in zip(trace.shape(node.args[0]), trace.shape(node), strict=True)]


def _follow_reshape(trace: Trace, node: fx.Node, axis: int, ids: Ids) -> bool:
    """Through a reshape that merges or splits the axis, if one axis before it holds what is cut."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    place = len(trace.shape(node)) + axis
    old, new = next(run for run in runs(trace.shape(source), trace.shape(node)) if place in run[1])
    view = [len(ids) if other == place else 1 for other in new]
    spread = np.broadcast_to(ids.reshape(view), [trace.shape(node)[other] for other in new])
    before = trimmed(Carrier(tuple(old), spread.reshape([trace.shape(source)[other] for other in old])))
    if before.is_block or not follow(trace, source, before.axis - len(trace.shape(source)), before.ids, node):
        return False
    if node.target is shape.flatten:
        return True
    if node.target is shape.reshape_to:
        return count_computed(trace, node, place, ids)
    target: Any = node.kwargs["shape"]
    if target[place] > 0:
        trace.count(node, "shape", place, ids)
    return target[place] != 0 or old == new


def _expand_to_fewer(trace: Trace, node: fx.Node, axis: int, ids: Ids) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if len(trace.shape(source)) >= -axis and trace.shape(source)[axis] != 1:
        return follow(trace, source, axis, ids, node) and _count_in_shape(
            trace, node, len(trace.shape(node)) + axis, ids
        )
    return _count_in_shape(trace, node, len(trace.shape(node)) + axis, ids)


def _leave_as_one(trace: Trace, node: fx.Node, axis: int, ids: Ids) -> bool:
    """Expand an axis of 1 no more, where everyone who reads it broadcasts it against a value that is long enough."""
    source: Any = node.args[0]
    if len(trace.shape(source)) >= -axis and trace.shape(source)[axis] != 1:
        return False
    if not all(_broadcasts(trace, user, node, axis) for user in node.users):
        return False
    plain = node.kwargs["shape"] if node.target is shape.expand else evaluated(trace, node.args[1])  # pyright: ignore[reportArgumentType]  # a node
    if not isinstance(plain, list | tuple):
        return False
    if len(plain) >= -axis:
        trace.literals.append(Literal(node, "shape", len(plain) + axis, ids, 0, len(plain), is_free=True))
        trace.laid_out.add((node, len(plain) + axis))
    return True


def _broadcasts(trace: Trace, user: fx.Node, node: fx.Node, axis: int) -> bool:
    """Whether another operand has the axis in full, and not by an expansion that may end as well."""
    others = [other for other in user.all_input_nodes if other is not node and other.target not in SIZED]
    shapes = [trace.shape(other) for other in others]
    return user.target in BROADCASTING and any(
        len(sizes) >= -axis and sizes[axis] == trace.shape(node)[axis] for sizes in shapes
    )


def _count_in_shape(trace: Trace, node: fx.Node, place: int, ids: Ids) -> bool:
    if node.target is shape.expand:
        target: Any = node.kwargs["shape"]
        place += len(target) - len(trace.shape(node))
        if place >= 0 and target[place] != 1:
            trace.count(node, "shape", place, ids)
        return True
    return count_computed(trace, node, place, ids)


def count_computed(trace: Trace, node: fx.Node, place: int, ids: Ids, axis: int = 0) -> bool:
    """Let the computed shape of a node follow a cut of `ids` at `place`; False where it can't.

    A size that is the same in every run is overwritten by its new number; one that is computed from sizes of
    channels follows by itself; else what is left over, or what comes in, is taken, or the share that remains.
    """
    target = node.args[place_of_shape(node)]
    assert isinstance(target, fx.Node)
    plain = evaluated(trace, target)
    if plain is None:
        return False
    known = _known_size(trace, node, place)
    place += len(plain) - len(trace.shape(node))
    if place < 0 or plain[place] in (-1, 0) or (plain[place] == 1 and ids.shape[axis] != 1):
        return True
    measured = [carrier.ids.reshape(-1) for carrier, places in moved_by(trace, target) if place in places]
    beside = np.concatenate([NONE, *measured])
    grown = {
        "channels": evaluated(trace, target, channels=2),
        "inner": evaluated(trace, target, inner=2),
        "others": evaluated(trace, target, others=2),
    }
    follows = {name for name, found in grown.items() if found is None or found[place] != plain[place]}
    trace.laid_out.add((node, place))
    is_own = all(set(one.tolist()) == set(ids.reshape(-1).tolist()) for one in measured)
    if not follows or known == ids.shape[axis] or not (is_own or "others" in follows):
        trace.literals.append(Literal(node, "shape", place, ids, axis, len(plain), beside=beside))
        return True
    own = grown["inner" if axis else "channels"]
    if own is not None and own[place] == 2 * plain[place]:
        for one in [] if is_own else measured:
            trace.same(ids, one, f"{trace.name(node)} is laid out by the size of something else")
        return True
    if node.target is shape.reshape_to and -1 not in plain and not _is_freed(trace, node):
        trace.literals.append(Literal(node, "shape", place, ids, axis, len(plain), is_free=True))
        return True
    trace.laid_out.discard((node, place))
    longer = grown["others"]
    if follows == {"others"} and longer is not None and longer[place] == 2 * plain[place]:
        trace.literals.append(Literal(node, "shape", place, ids, axis, len(plain), is_share=True))
        trace.laid_out.add((node, place))
        return True
    return False


def moved_by(trace: Trace, target: fx.Node) -> list[tuple[Carrier, set[int]]]:
    """The carriers whose sizes count in a node of the shape plane, each with the places where they do."""
    plain = evaluated(trace, target)
    if plain is None:
        return []
    carriers = {id(carrier): carrier for value in sources(target) for carrier in trace.carriers(value)}
    found = []
    for carrier in carriers.values():
        grown = evaluated(trace, target, channels=2, inner=2, of=carrier)
        if grown is None or len(grown) != len(plain):
            found.append((carrier, set(range(len(plain)))))
        elif places := {place for place, size in enumerate(plain) if grown[place] != size}:
            found.append((carrier, places))
    return found


def hold_sizes(trace: Trace) -> None:
    """Channels stay whose number lays out values that they are not in, unless that is written anew when they go."""
    for node in trace.graph.graph.nodes:
        for place in COMPUTED.get(node.target, ()):
            if place < len(node.args) and isinstance(node.args[place], fx.Node):
                _hold_what_moves(trace, node, node.args[place])


def _hold_what_moves(trace: Trace, node: fx.Node, numbers: fx.Node) -> None:
    for carrier, places in moved_by(trace, numbers):
        if node in trace.chains:
            trace.pick_anew(trace.chains[node], carrier.ids)
        elif any((node, place) not in trace.laid_out for place in places):
            trace.lock(carrier.ids, f"{trace.name(node)} is laid out by its size")


def keep_size(trace: Trace, node: fx.Node, place: int) -> bool:
    """Let an expansion leave an axis as it comes in."""
    plain = evaluated(trace, node.args[1])  # pyright: ignore[reportArgumentType]  # a node
    if plain is None:
        return False
    place += len(plain) - len(trace.shape(node))
    carrier = trace.carrier(node.args[0], place - len(plain))
    assert carrier is not None
    trace.literals.append(Literal(node, "shape", place, carrier.ids, 0, len(plain), is_free=True))
    trace.laid_out.add((node, place))
    return True


def _is_freed(trace: Trace, node: fx.Node) -> bool:
    return any(literal.node is node and literal.is_free for literal in trace.literals)


def _known_size(trace: Trace, node: fx.Node, place: int) -> int | None:
    """The size of an axis where it is the same in every run."""
    sizes = trace.network.index.shape(str(node.meta.get("value") or ""))
    size = sizes[place] if sizes is not None and place < len(sizes) else None
    return size if isinstance(size, int) else None


def evaluated(
    trace: Trace, node: fx.Node, channels: int = 1, others: int = 1, inner: int = 1, of: Carrier | None = None
) -> list[Any] | None:
    """What a node of the shape plane gives if some axes are so many times as long.

    None where it depends on more than sizes and constants.

    Args:
        channels: how many times an axis with channels is, and of a block the first.
        others: how many times an axis without channels is.
        inner: how many times an axis of a block is that is not its first.
        of: the only carrier that is meant, if not all are.
    """
    known: dict[fx.Node, Any] = {}

    def value(one: fx.Node) -> Any:
        if one not in known:
            known[one] = _computed(trace, one, (channels, others, inner), of, value)
        return known[one]

    try:
        found = value(node)
    except (LookupError, RuntimeError, ValueError, IndexError):
        return None
    return found.reshape(-1).tolist() if isinstance(found, Tensor) else None


def in_every_run(trace: Trace, node: Any) -> list[Any] | None:
    """What a node of the shape plane gives, None in place of what changes with sizes; None where it isn't known."""
    runs = [evaluated(trace, node, *factors) for factors in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))]
    found = [numbers for numbers in runs if numbers is not None]
    if len(found) < len(runs) or len({len(numbers) for numbers in found}) > 1:
        return None
    return [same[0] if len(set(same)) == 1 else None for same in zip(*found, strict=True)]


def _computed(trace: Trace, node: fx.Node, factors: tuple[int, int, int], of: Carrier | None, value: Any) -> Any:
    if node.op == "get_attr":
        return trace.tensor("", str(node.target)).cpu()
    if node.op != "call_function":
        raise LookupError(node.name)
    if node.target is shape.shape_of:
        (source,) = node.all_input_nodes
        bounds: Any = node.kwargs
        return torch.tensor(_sizes(trace, source, factors, of)[bounds["start"] : bounds["end"]])
    if node.target is shape.size_of:
        return torch.tensor(math.prod(_sizes(trace, node.all_input_nodes[0], factors, of)))
    assert callable(node.target)
    return node.target(*fx.map_arg(node.args, value), **node.kwargs)


def _sizes(trace: Trace, source: fx.Node, factors: tuple[int, int, int], of: Carrier | None) -> Sequence[int]:
    """Sizes of a value times the factors of their axes."""
    carriers = [carrier for carrier in trace.carriers(source) if of is None or carrier is of]
    first = {carrier.axis for carrier in carriers}
    behind = {axis for carrier in carriers for axis in carrier.axes[1:]}
    kinds = [0 if axis in first else 2 if axis in behind else 1 for axis in range(len(trace.shape(source)))]
    return [size * factors[kind] for kind, size in zip(kinds, trace.shape(source), strict=True)]


def depends_on_channels(trace: Trace, node: fx.Node) -> bool:
    """Whether a number that is computed from sizes may change when channels go."""
    found = evaluated(trace, node)
    return found is None or found != evaluated(trace, node, channels=2)


def depends_on_rows(trace: Trace, node: fx.Node) -> bool:
    """Whether a number that is computed from sizes changes when channels of every row of a block go."""
    found = evaluated(trace, node)
    return found is not None and found != evaluated(trace, node, inner=2)


def sources(node: fx.Node) -> list[fx.Node]:
    """The values whose sizes a node of the shape plane is computed from."""
    found: dict[fx.Node, None] = {}
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        if one.target in SIZES:
            found.update(dict.fromkeys(one.all_input_nodes))
        elif one.op == "call_function":
            parts = [part for part in one.all_input_nodes if part not in seen]
            seen.update(parts)
            waiting += parts
    return list(found)


def is_nothing(trace: Trace, node: fx.Node) -> bool:
    """Whether a value is 0 everywhere, whatever the input: an initial state that an exporter wrote out."""
    if node.op == "get_attr":
        return not bool(trace.tensor("", str(node.target)).any())
    if node.target is shape.constant_of_shape:
        return not node.kwargs["value"]
    source = node.args[0] if node.target in SPREADING else None
    return isinstance(source, fx.Node) and is_nothing(trace, source)
