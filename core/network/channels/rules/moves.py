"""How identities of channels pass the operators that move, join and pool elements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.following import copies, follow
from core.network.channels.identities import NONE, Ids
from core.network.channels.sizes import evaluated, in_every_run
from core.network.channels.trace import Trace, rule
from core.network.channels.units import Literal
from core.network.ops import pool, shape


@rule(pool.max_pool, pool.average_pool, pool.lp_pool, pool.pool_same)
@rule(pool.global_average_pool, pool.global_max_pool, pool.global_lp_pool)
def pass_pool(trace: Trace, node: fx.Node) -> Carried:
    """Places behind the channels are joined; channels are not."""
    return trace.only(node.args[0], [0, 1], f"{trace.name(node)} joins places along it")


@rule(shape.transpose)
def pass_transpose(trace: Trace, node: fx.Node) -> Carried:
    perm: Any = node.kwargs["perm"]
    return [carrier.moved(perm.index) for carrier in trace.carriers(node.args[0])]


@rule(shape.squeeze)
def pass_squeeze(trace: Trace, node: fx.Node) -> Carried:
    x = node.args[0]
    sizes = trace.shape(x)
    axes: Any = node.kwargs["axes"]
    gone = {axis for axis, size in enumerate(sizes) if size == 1} if axes is None else {a % len(sizes) for a in axes}
    for axis in gone:
        trace.settle(x, axis, f"{trace.name(node)} drops its axis")
    kept = [axis for axis in range(len(sizes)) if axis not in gone]
    return [c.moved(kept.index) for c in trace.carriers(x) if not gone & set(c.axes)]


@rule(shape.unsqueeze)
def pass_unsqueeze(trace: Trace, node: fx.Node) -> Carried:
    axes: Any = node.kwargs["axes"]
    rank = len(trace.shape(node))
    new = {axis % rank for axis in axes}
    old = [axis for axis in range(rank) if axis not in new]
    return [carrier.moved(old.__getitem__) for carrier in trace.carriers(node.args[0])]


@rule(shape.concat)
def pass_concat(trace: Trace, node: fx.Node) -> Carried:
    """Along its axis identities are joined; along the others they are united."""
    parts = [arg for arg in node.args if isinstance(arg, fx.Node)]
    rank = len(trace.shape(node))
    joined: Any = node.kwargs["axis"]
    result = _joined_blocks(trace, parts, joined % rank)
    taken = {axis for block in result for axis in block.axes}
    for axis in set(range(rank)) - taken:
        known = [ids for part in parts if (ids := trace.ids(part, axis)) is not None]
        if not known:
            continue
        zero = all(trace.is_zero(part, axis) for part in parts)
        reason = f"{trace.name(node)} joins it with values that have no channels"
        if axis == joined % rank:
            ids = np.concatenate([trace.channel_ids(part, axis, reason) for part in parts])
        else:
            ids = _united(trace, parts, axis, known[0], reason)
        result.append(Carrier((axis,), ids, zero))
    return result


def _joined_blocks(trace: Trace, parts: list[fx.Node], joined: int) -> Carried:
    """Blocks that every part has along the same axes stay blocks."""
    result: Carried = []
    for block in [carrier for carrier in trace.carriers(parts[0]) if carrier.is_block]:
        twins = [next((c for c in trace.carriers(part) if c.axes == block.axes), None) for part in parts]
        found = [twin for twin in twins if twin is not None]
        if len(found) < len(parts):
            continue
        if joined in block.axes:
            ids = np.concatenate([twin.ids for twin in found], axis=block.axes.index(joined))
            result.append(Carrier(block.axes, ids, all(twin.zero for twin in found)))
            trace.block(ids, "a concatenation")
        elif all(twin.ids.shape == block.ids.shape for twin in found):
            for twin in found[1:]:
                trace.unite(block.ids, twin.ids)
            result.append(replace(block, zero=all(twin.zero for twin in found)))
    return result


def _united(trace: Trace, parts: list[fx.Node], axis: int, ids: Ids, reason: str) -> Ids:
    """Values that are joined side by side keep the same channels."""
    for part in parts:
        own = trace.ids(part, axis)
        if own is not None:
            trace.unite(ids, own)
        elif not follow(trace, part, axis - len(trace.shape(part)), ids):
            trace.lock(ids, reason)
    return ids


@rule(shape.split)
def pass_split(trace: Trace, node: fx.Node) -> list[Carried]:
    x = node.args[0]
    sizes: Any = node.kwargs["sizes"]
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    whole = alone(trace, x, axis)
    if whole is None:
        return [list(trace.carriers(x)) for _ in sizes]
    parts = np.split(whole.ids, np.cumsum(sizes)[:-1])
    for place, part in enumerate(parts):
        trace.count(node, "sizes", place, part)
    return [_instead(trace, x, whole, part) for part in parts]


@rule(shape.split_evenly)
def pass_even_split(trace: Trace, node: fx.Node) -> list[Carried]:
    """Parts that must stay even lose equally many."""
    x = node.args[0]
    count: Any = node.kwargs["count"]
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    whole = alone(trace, x, axis)
    if whole is None:
        return [list(trace.carriers(x)) for _ in range(count)]
    if len(whole.ids) % count:
        trace.lock(whole.ids, f"{trace.name(node)} splits it into parts that differ")
    else:
        trace.balance(whole.ids.reshape(count, -1))
    parts = np.split(whole.ids, np.cumsum(shape.even_sizes(len(whole.ids), count))[:-1])
    return [_instead(trace, x, whole, part) for part in parts]


@rule(shape.split_by)
def pass_computed_split(trace: Trace, node: fx.Node) -> list[Carried]:
    """Sizes that are computed, and yet the same in every run, follow a cut; others settle the axis."""
    x = node.args[0]
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    sizes, whole = in_every_run(trace, node.args[1]), alone(trace, x, axis)
    if whole is not None and sizes is not None and None not in sizes:
        parts = np.split(whole.ids, np.cumsum(sizes)[:-1])
        for place, part in enumerate(parts):
            trace.literals.append(Literal(node, "sizes", place, part, 0, len(sizes)))
        return [_instead(trace, x, whole, part) for part in parts]
    trace.settle(x, axis, f"{trace.name(node)} cuts it at computed places")
    kept = [carrier for carrier in trace.carriers(x) if axis not in carrier.axes]
    return [kept for _ in trace.shape(node)]


def alone(trace: Trace, x: Any, axis: int) -> Carrier | None:
    """The carrier of this axis alone; a block is held together along it and has none."""
    carrier = trace.carrier(x, axis)
    if carrier is not None and carrier.is_block:
        trace.settle(x, axis, "")
        return None
    return carrier


def _instead(trace: Trace, x: Any, old: Carrier, ids: Ids) -> Carried:
    return [replace(carrier, ids=ids) if carrier is old else carrier for carrier in trace.carriers(x)]


@rule(shape.slice_)
def pass_slice(trace: Trace, node: fx.Node) -> Carried:
    x = node.args[0]
    literals: Any = node.kwargs
    is_one = len(literals["axes"]) == 1
    result = None
    for place, axis in enumerate(literals["axes"]):
        start, end, step = slice(literals["starts"][place], literals["ends"][place], literals["steps"][place]).indices(
            trace.shape(x)[axis]
        )
        if (start, end, step) == (0, trace.shape(x)[axis], 1):
            continue
        whole = alone(trace, x, axis)
        if whole is None:
            continue
        if step != 1 and is_one:
            assert isinstance(x, fx.Node)
            return trace.picked(node, x, whole.axis, np.arange(start, end, step))
        if step != 1:
            trace.lock(whole.ids, f"{trace.name(node)} takes every {step}th of it")
        else:
            for name, bound in (("starts", start), ("ends", end)):
                beside = whole.ids[bound:] if literals[name][place] < 0 else NONE
                trace.count(node, name, place, whole.ids[:bound], beside=beside)
        result = [*(result or []), replace(whole, ids=whole.ids[start:end:step])]
    cut = {carrier.axis for carrier in result or []}
    return [*(result or []), *(c for c in trace.carriers(x) if c.axis not in cut)]


@rule(shape.slice_by)
def pass_slice_by(trace: Trace, node: fx.Node) -> Carried:
    """Positions that are computed, and yet the same in every run, name channels; others settle the axis."""
    x = node.args[0]
    axes: Any = node.kwargs["axes"]
    rank = len(trace.shape(x))
    places = _same_in_every_run(trace, node)
    if places is not None and len(axes) == 1 and alone(trace, x, axes[0]) is not None:
        assert isinstance(x, fx.Node)
        trace.chains[node] = x
        return trace.picked(node, x, axes[0] % rank, np.arange(trace.shape(x)[axes[0]])[places])
    for axis in axes:
        trace.settle(x, axis, f"{trace.name(node)} cuts it at computed places")
    sliced = {axis % rank for axis in axes}
    return [carrier for carrier in trace.carriers(x) if not sliced & set(carrier.axes)]


@rule(shape.slice_at)
def pass_slice_at(trace: Trace, node: fx.Node) -> Carried:
    """Axes that may be cut are settled: all of them where it isn't known which these are."""
    x, starts, _, *rest = node.args
    rank = len(trace.shape(x))
    axes = rest[0] if rest else None
    along = list(range(trace.shape(starts)[0])) if axes is None else in_every_run(trace, axes)
    sliced = {axis % rank for axis in along} if along is not None and None not in along else set(range(rank))
    for axis in sliced:
        trace.settle(x, axis, f"{trace.name(node)} cuts it at computed places")
    return [carrier for carrier in trace.carriers(x) if not sliced & set(carrier.axes)]


def _same_in_every_run(trace: Trace, node: fx.Node) -> slice | None:
    """What a slice of one axis takes, if sizes that may differ between runs don't count in it."""
    ends = [[evaluated(trace, bound, others=n, inner=n) for n in (1, 2)] for bound in node.args[1:3]]  # pyright: ignore[reportArgumentType]  # nodes
    if any(found is None or found != other for found, other in ends):
        return None
    steps: Any = node.kwargs["steps"]
    (start, _), (end, _) = ends
    assert start is not None
    assert end is not None
    return slice(start[0], end[0], steps[0]) if steps[0] > 0 else None


@rule(shape.take)
def pass_take(trace: Trace, node: fx.Node) -> Carried:
    x = node.args[0]
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    indices: Any = node.kwargs["indices"]
    whole = alone(trace, x, axis)
    if whole is None:
        return list(trace.carriers(x))
    trace.positions(node, "indices", whole.ids, indices)
    return _instead(trace, x, whole, whole.ids[np.asarray(indices)])


@rule(shape.gather)
def pass_gather(trace: Trace, node: fx.Node) -> Carried:
    """Nothing goes from an axis that is indexed; the axes of the indices take its place."""
    x, indices = node.args
    assert isinstance(indices, fx.Node)
    axis = int(node.kwargs["axis"]) % len(trace.shape(x))  # pyright: ignore[reportArgumentType]  # an int literal
    grown = len(trace.shape(indices)) - 1
    block = trace.carrier(x, axis)
    row = None
    if block is not None and block.is_block and indices.op == "get_attr" and grown == -1:
        row = _row(trace, node, block, axis, int(trace.tensor("", str(indices.target))))
    else:
        trace.settle(x, axis, f"{trace.name(node)} picks from it by number")
    trace.lock_all(indices, f"{trace.name(node)} picks by it")
    kept = [*([row] if row else []), *(carrier for carrier in trace.carriers(x) if axis not in carrier.axes)]
    return [carrier.moved(lambda place: place if place < axis else place + grown) for carrier in kept]


def _row(trace: Trace, node: fx.Node, block: Carrier, axis: int, index: int) -> Carrier:
    """One row of a block, which keeps its number as long as no row goes as a whole."""
    place = block.axes.index(axis)
    trace.steady(block.ids, place, f"{trace.name(node)} picks from it by number")
    return replace(block, axes=block.axes[:place] + block.axes[place + 1 :], ids=block.ids.take(index, axis=place))


@rule(shape.tile, shape.tile_by)
def pass_tile(trace: Trace, node: fx.Node) -> Carried:
    """Copies of a channel go with it."""
    x = node.args[0]
    given: Any = node.kwargs["repeats"] if node.target is shape.tile else in_every_run(trace, node.args[1])
    for axis in range(len(trace.shape(x))):
        if given is None or given[axis] != 1:
            alone(trace, x, axis)
    repeats = copies(trace, node)
    return [
        carrier if carrier.is_block else replace(carrier, ids=np.tile(carrier.ids, repeats[carrier.axis]))
        for carrier in trace.carriers(x)
    ]


@rule(shape.depth_to_space)
def pass_depth_to_space(trace: Trace, node: fx.Node) -> Carried:
    """The blocksize^2 channels that become one live and die together."""
    ids = trace.ids(node.args[0], 1)
    if ids is None:
        return [c for c in trace.carriers(node.args[0]) if c.axis == 0]
    square = int(node.kwargs["blocksize"]) ** 2  # pyright: ignore[reportArgumentType]  # an int literal
    rows = ids.reshape(square, -1).T if node.kwargs["mode"] == "DCR" else ids.reshape(-1, square)
    trace.unite(np.repeat(rows[:, :1], square, axis=1), rows)
    trace.lock_others(node.args[0], [0, 1], f"{trace.name(node)} spreads it over places")
    return [Carrier((1,), rows[:, 0].copy(), trace.is_zero(node.args[0], 1))]


@rule(shape.space_to_depth)
def pass_space_to_depth(trace: Trace, node: fx.Node) -> Carried:
    """A channel becomes blocksize^2 channels, side by side where the mode is CRD."""
    x = node.args[0]
    trace.lock_others(x, [0, 1], f"{trace.name(node)} gathers it from places")
    ids = trace.ids(x, 1)
    if ids is None:
        return []
    square = int(node.kwargs["blocksize"]) ** 2  # pyright: ignore[reportArgumentType]  # an int literal
    copies = np.repeat(ids, square) if node.kwargs.get("mode") == "CRD" else np.tile(ids, square)
    return [Carrier((1,), copies, trace.is_zero(x, 1))]
