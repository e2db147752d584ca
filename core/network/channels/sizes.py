"""Numbers that count channels in computed shapes: how each follows a cut, or that the channels stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from core.network.channels.carriers import Carrier
from core.network.channels.identities import NONE, Ids
from core.network.channels.trace import Trace
from core.network.channels.units import Literal
from core.network.ops import shape
from core.network.ops.computed_sizes import place_of_shape
from core.network.planes import shape_plane

SIZES = {shape.shape_of, shape.size_of}
MAKERS = {shape.constant_of_shape, shape.expand_to, shape.reshape_to, shape.tile_by, shape.range_}
"""What makes a value of a computed size."""

Sizes = Callable[[fx.Node], Sequence[int]]
"""The sizes of a value's axes."""


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
    size = plain[place] if place >= 0 else -1
    if size in (-1, 0) or (size == 1 and ids.shape[axis] != 1):
        return True
    measured = [carrier.ids.reshape(-1) for carrier, places in moved_by(trace, target) if place in places]
    is_own = all(set(one.tolist()) == set(ids.reshape(-1).tolist()) for one in measured)
    by_channels = _at(place, evaluated(trace, target, channels=1 if axis else 2, inner=2 if axis else 1))
    by_others = _at(place, evaluated(trace, target, others=2))
    made = Literal(node, "shape", place, ids, axis, len(plain), beside=np.concatenate([NONE, *measured]))
    if known == ids.shape[axis] or (by_others == size and not (measured and is_own)):
        trace.literals.append(made)
    elif by_channels == 2 * size:
        for one in [] if is_own else measured:
            trace.same(ids, one, f"{trace.name(node)} depends on the size of something else")
    elif node.target is shape.reshape_to and -1 not in plain and not _is_freed(trace, node):
        trace.literals.append(replace(made, is_free=True))
    elif not measured and by_others == 2 * size:
        trace.literals.append(replace(made, is_share=True))
    else:
        return False
    trace.laid_out.add((node, place))
    return True


def _at(place: int, numbers: list[Any] | None) -> Any:
    return None if numbers is None else numbers[place]


def moved_by(trace: Trace, numbers: fx.Node) -> list[tuple[Carrier, set[int]]]:
    """The carriers whose sizes count in a node of the shape plane, each with the places where they do."""
    plain = evaluated(trace, numbers)
    if plain is None:
        return []
    carriers = {id(carrier): carrier for value in sources(numbers) for carrier in trace.carriers(value)}
    found = []
    for carrier in carriers.values():
        places: set[int] = set()
        for change in (lambda size: 2 * size, lambda size: max(size - 1, 1)):
            changed = _evaluated(trace, numbers, _changed(trace, carrier, change))
            if changed is None or len(changed) != len(plain):
                places = set(range(len(plain)))
                break
            places.update(place for place, size in enumerate(plain) if changed[place] != size)
        if places:
            found.append((carrier, places))
    return found


def hold_sizes(trace: Trace) -> None:
    """Channels stay whose number counts elsewhere too, unless that is written anew when they go.

    Followed are the numbers that are computed from sizes, up to the nodes that do something else by them.
    """
    plane, numbers = shape_plane(trace.graph), set[fx.Node]()
    for node in trace.graph.graph.nodes:
        read = [value for value in node.all_input_nodes if value in numbers]
        others = [value for value in node.all_input_nodes if value not in numbers and value.op != "get_attr"]
        is_number = node in plane and (node.target in SIZES or not others)
        is_plain = is_number and node.target not in MAKERS
        moved = [] if is_plain else [found for value in read for found in moved_by(trace, value)]
        if is_number and not moved:
            numbers.add(node)
        for carrier, places in moved:
            _hold(trace, node, carrier, places)


def _hold(trace: Trace, node: fx.Node, carrier: Carrier, places: set[int]) -> None:
    """Keep channels whose number a node reads at these places, unless it is picked or laid out anew."""
    if node in trace.chains:
        trace.pick_anew(trace.chains[node], carrier.ids)
    elif any((node, place) not in trace.laid_out for place in places):
        trace.lock(carrier.ids, f"{trace.name(node)} depends on its size")


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
    return _evaluated(trace, node, _scaled(trace, (channels, others, inner), of))


def _evaluated(trace: Trace, node: fx.Node, sizes: Sizes) -> list[Any] | None:
    known: dict[fx.Node, Any] = {}

    def value(one: fx.Node) -> Any:
        if one not in known:
            known[one] = _computed(trace, one, sizes, value)
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


def _computed(trace: Trace, node: fx.Node, sizes: Sizes, value: Any) -> Any:
    if node.op == "get_attr":
        return trace.tensor("", str(node.target)).cpu()
    if node.op != "call_function":
        raise LookupError(node.name)
    if node.target is shape.shape_of:
        (source,) = node.all_input_nodes
        bounds: Any = node.kwargs
        return torch.tensor(sizes(source)[bounds["start"] : bounds["end"]])
    if node.target is shape.size_of:
        return torch.tensor(math.prod(sizes(node.all_input_nodes[0])))
    assert callable(node.target)
    return node.target(*fx.map_arg(node.args, value), **node.kwargs)


def _scaled(trace: Trace, factors: tuple[int, int, int], of: Carrier | None) -> Sizes:
    """Sizes times the factors of their axes: with channels, without, and of blocks those that are not the first."""

    def sizes(source: fx.Node) -> Sequence[int]:
        carriers = [carrier for carrier in trace.carriers(source) if of is None or carrier is of]
        first = {carrier.axis for carrier in carriers}
        behind = {axis for carrier in carriers for axis in carrier.axes[1:]}
        kinds = [0 if axis in first else 2 if axis in behind else 1 for axis in range(len(trace.shape(source)))]
        return [size * factors[kind] for kind, size in zip(kinds, trace.shape(source), strict=True)]

    return sizes


def _changed(trace: Trace, carrier: Carrier, change: Callable[[int], int]) -> Sizes:
    """Sizes of which those along the axes of one carrier are changed."""

    def sizes(source: fx.Node) -> Sequence[int]:
        axes = carrier.axes if any(other is carrier for other in trace.carriers(source)) else ()
        return [change(size) if axis in axes else size for axis, size in enumerate(trace.shape(source))]

    return sizes


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
