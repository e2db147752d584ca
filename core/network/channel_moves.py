"""How identities of channels pass the operators that move, join, pool and reduce elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from core.network.identities import Ids
from core.network.ops import pool, shape
from core.network.trace import Axes, Trace, rule


@rule(pool.max_pool, pool.average_pool, pool.lp_pool)
@rule(pool.global_average_pool, pool.global_max_pool, pool.global_lp_pool, shape.cast)
def pass_same_axes(trace: Trace, node: fx.Node) -> Axes:
    """Spatial axes change their sizes; channels do not."""
    return list(trace.axes(node.args[0]))


@rule(shape.flatten)
def pass_flatten(trace: Trace, node: fx.Node) -> Axes:
    return _reshaped(trace, node)


@rule(shape.reshape)
def pass_reshape(trace: Trace, node: fx.Node) -> Axes:
    result = _reshaped(trace, node)
    target: Any = node.kwargs["shape"]
    x = node.args[0]
    for place, ids in enumerate(result):
        copies = target[place] == 0 and not node.kwargs.get("allowzero")
        if ids is None or target[place] == -1:
            continue
        if not copies or trace.axes(x)[place] is not ids:
            trace.count(node, "shape", place, ids)
    return result


@rule(shape.reshape_to)
def pass_computed_reshape(trace: Trace, node: fx.Node) -> Axes:
    """A shape computed from sizes follows the cut by itself, unless a constant in it counts channels."""
    x, target = node.args
    result = _reshaped(trace, node)
    assert isinstance(target, fx.Node)
    doubled = _with_doubled_channels(trace, target)
    for place, ids in enumerate(result):
        if ids is not None and (doubled is None or doubled[place] not in (-1, 0, 2 * len(ids))):
            for carried in trace.axes(x):
                trace.lock(carried, f"{trace.name(node)} has its size as a constant")
    return result


def _with_doubled_channels(trace: Trace, target: fx.Node) -> list[int] | None:
    """What a node of the shape plane would give if every axis that carries channels had twice as many.

    None where it depends on more than sizes and constants.
    """
    known: dict[fx.Node, Any] = {}

    def value(node: fx.Node) -> Any:
        if node not in known:
            known[node] = compute(node)
        return known[node]

    def compute(node: fx.Node) -> Any:
        if node.op == "get_attr":
            return trace.tensor("", str(node.target))
        if node.op != "call_function":
            raise LookupError(node.name)
        if node.target is shape.shape_of:
            (source,) = node.all_input_nodes
            sizes = [
                size if ids is None else 2 * size
                for size, ids in zip(trace.shape(source), trace.axes(source), strict=True)
            ]
            bounds: Any = node.kwargs
            return torch.tensor(sizes[bounds["start"] : bounds["end"]])
        assert callable(node.target)
        return node.target(*fx.map_arg(node.args, value), **node.kwargs)

    try:
        return [int(size) for size in value(target)]
    except LookupError:
        return None


def _reshaped(trace: Trace, node: fx.Node) -> Axes:
    """Runs of axes with equal products are merged and split; an axis may carry channels only if the others do not."""
    x = node.args[0]
    result: Axes = [None] * len(trace.shape(node))
    for old, new in runs(trace.shape(x), trace.shape(node)):
        carried = [trace.axes(x)[axis] for axis in old]
        if any(ids is not None for ids in carried):
            for axis, ids in zip(new, _regrouped(trace, node, old, new), strict=True):
                result[axis] = ids
    return result


def _regrouped(trace: Trace, node: fx.Node, old: list[int], new: list[int]) -> Axes:
    """Identities of the axes `new` into which the axes `old` are merged or split."""
    x = node.args[0]
    sizes, target = [trace.shape(x)[axis] for axis in old], [trace.shape(node)[axis] for axis in new]
    carriers = [place for place, axis in enumerate(old) if trace.axes(x)[axis] is not None and sizes[place] > 1]
    if len(carriers) == 1:
        ids = trace.axes(x)[old[carriers[0]]]
        assert ids is not None
        view = [1] * len(sizes)
        view[carriers[0]] = -1
        spread = np.broadcast_to(ids.reshape(view), sizes).reshape(target)
        for place in range(len(target)):
            line = np.moveaxis(spread, place, 0).reshape(target[place], -1)
            if (line == line[:, :1]).all() and line.shape[0] > 1:
                return [line[:, 0].copy() if other == place else None for other in range(len(target))]
    for axis in old:
        trace.lock(trace.axes(x)[axis], f"{trace.name(node)} mixes it with another axis")
    return [None] * len(new)


def runs(old: Any, new: Any) -> list[tuple[list[int], list[int]]]:
    """Shortest runs of axes of two shapes with equal products, in order.

    (2, 3, 4, 5) to (6, 20) gives ([0, 1], [0]) and ([2, 3], [1]).
    """
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [i] if i < len(old) else [], [j] if j < len(new) else []
        a, b = (old[i] if left else 1), (new[j] if right else 1)
        i, j = i + len(left), j + len(right)
        while a != b:
            if a < b and i < len(old):
                a, left, i = a * old[i], [*left, i], i + 1
            elif j < len(new):
                b, right, j = b * new[j], [*right, j], j + 1
            else:
                a, left, i = a * old[i], [*left, i], i + 1
        found.append((left, right))
    return found


@rule(shape.transpose)
def pass_transpose(trace: Trace, node: fx.Node) -> Axes:
    perm: Any = node.kwargs["perm"]
    return [trace.axes(node.args[0])[axis] for axis in perm]


@rule(shape.squeeze)
def pass_squeeze(trace: Trace, node: fx.Node) -> Axes:
    x = node.args[0]
    sizes = trace.shape(x)
    axes: Any = node.kwargs["axes"]
    gone = {axis for axis, size in enumerate(sizes) if size == 1} if axes is None else {a % len(sizes) for a in axes}
    for axis in gone:
        trace.lock(trace.axes(x)[axis], f"{trace.name(node)} drops its axis")
    return [ids for axis, ids in enumerate(trace.axes(x)) if axis not in gone]


@rule(shape.unsqueeze)
def pass_unsqueeze(trace: Trace, node: fx.Node) -> Axes:
    axes: Any = node.kwargs["axes"]
    rank = len(trace.shape(node))
    new = {axis % rank for axis in axes}
    rest = iter(trace.axes(node.args[0]))
    return [None if axis in new else next(rest) for axis in range(rank)]


@rule(shape.concat)
def pass_concat(trace: Trace, node: fx.Node) -> Axes:
    """Along its axis identities are joined; along the others they are united."""
    parts = [arg for arg in node.args if isinstance(arg, fx.Node)]
    rank = len(trace.shape(node))
    joined: Any = node.kwargs["axis"]
    result: Axes = [None] * rank
    for axis in range(rank):
        known = [ids for part in parts if (ids := trace.axes(part)[axis]) is not None]
        if not known:
            continue
        reason = f"{trace.name(node)} joins it with values that have no channels"
        full = [trace.channel_ids(part, axis, reason) for part in parts]
        if axis == joined % rank:
            result[axis] = np.concatenate(full)
        else:
            for other in full[1:]:
                trace.unite(full[0], other)
            result[axis] = full[0]
    return result


@rule(shape.split)
def pass_split(trace: Trace, node: fx.Node) -> list[Axes]:
    x = node.args[0]
    sizes: Any = node.kwargs["sizes"]
    axis = int(node.kwargs["axis"]) % len(trace.axes(x))  # pyright: ignore[reportArgumentType]  # an int literal
    ids = trace.axes(x)[axis]
    if ids is None:
        return [list(trace.axes(x)) for _ in sizes]
    parts = np.split(ids, np.cumsum(sizes)[:-1])
    for place, part in enumerate(parts):
        trace.count(node, "sizes", place, part)
    return [[part if a == axis else other for a, other in enumerate(trace.axes(x))] for part in parts]


@rule(shape.slice_)
def pass_slice(trace: Trace, node: fx.Node) -> Axes:
    x = node.args[0]
    result = list(trace.axes(x))
    literals: Any = node.kwargs
    for place, axis in enumerate(literals["axes"]):
        axis %= len(result)
        ids = result[axis]
        if ids is None:
            continue
        start, end, step = slice(literals["starts"][place], literals["ends"][place], literals["steps"][place]).indices(
            len(ids)
        )
        if step != 1:
            trace.lock(ids, f"{trace.name(node)} takes every {step}th of it")
        elif (start, end) != (0, len(ids)):
            trace.count(node, "starts", place, ids[:start])
            trace.count(node, "ends", place, ids[:end])
        result[axis] = ids[start:end:step]
    return result


@rule(shape.take)
def pass_take(trace: Trace, node: fx.Node) -> Axes:
    x = node.args[0]
    result = list(trace.axes(x))
    axis: Any = node.kwargs["axis"]
    indices: Any = node.kwargs["indices"]
    ids = result[axis]
    if ids is not None:
        trace.positions(node, "indices", ids, indices)
        result[axis] = ids[np.asarray(indices)]
    return result


@rule(shape.pad)
def pass_pad(trace: Trace, node: fx.Node) -> Axes:
    """Zero channels that a pad adds, as in a parameter-free shortcut, are channels too."""
    x = node.args[0]
    result = list(trace.axes(x))
    pads: Any = node.kwargs["pads"]
    for axis, ids in enumerate(result):
        before, after = pads[axis], pads[axis + len(result)]
        if ids is None or (before == 0 and after == 0):
            continue
        if node.kwargs["mode"] != "constant" or min(before, after) < 0:
            trace.lock(ids, f"{trace.name(node)} pads or crops it")
            result[axis] = trace.locked(trace.shape(node)[axis], f"{trace.name(node)} pads or crops it")
            continue
        front, back = trace.fresh(before), trace.fresh(after)
        trace.count(node, "pads", axis, front)
        trace.count(node, "pads", axis + len(result), back)
        result[axis] = np.concatenate([front, ids, back])
    return result


@rule(shape.expand)
def pass_expand(trace: Trace, node: fx.Node) -> Axes:
    """Axes of size 1 grow and stay without channels; the others pass."""
    x = node.args[0]
    old = trace.axes(x)
    target: Any = node.kwargs["shape"]
    result: Axes = [None] * len(trace.shape(node))
    for back in range(1, len(old) + 1):
        ids: Ids | None = old[-back]
        if ids is None:
            continue
        if len(ids) != trace.shape(node)[-back]:
            trace.lock(ids, f"{trace.name(node)} repeats it")
            continue
        result[-back] = ids
        if back <= len(target) and target[-back] != 1:
            trace.count(node, "shape", len(target) - back, ids)
    return result
