"""Values without channels of their own that follow a cut: constants, what is expanded, moved or copied of them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from torch import fx

from core.network.channels.axis_runs import runs
from core.network.channels.carriers import Carrier, trimmed
from core.network.channels.identities import Ids
from core.network.channels.sizes import SIZES, count_computed, evaluated
from core.network.channels.trace import Trace
from core.network.channels.units import Literal
from core.network.ops import shape
from core.network.registry import BROADCASTING, ELEMENTWISE

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
    if len(before.axes) != 1 or not follow(trace, source, before.axis - len(trace.shape(source)), before.ids, node):
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


def is_nothing(trace: Trace, node: fx.Node) -> bool:
    """Whether a value is 0 everywhere, whatever the input: an initial state that an exporter wrote out."""
    if node.op == "get_attr":
        return not bool(trace.tensor("", str(node.target)).any())
    if node.target is shape.constant_of_shape:
        return not node.kwargs["value"]
    source = node.args[0] if node.target in SPREADING else None
    return isinstance(source, fx.Node) and is_nothing(trace, source)
