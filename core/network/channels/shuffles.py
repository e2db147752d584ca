"""Chains of reshapes and transposes that only pick channels: a channel shuffle, a split written as a reshape.

ShuffleNet's shuffle (Zhang et al. 2018, arXiv:1707.01083, figure 3) lays channels out as (groups, size), swaps the
two and flattens them. Cut as it is written, it holds channels together that have nothing to do with each other; as a
`Gather` it does not. Such a chain is found by running it on positions, whatever it is made of.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from core.network.channels.identities import Ids
from core.network.ops import shape

RESHAPES = {shape.reshape, shape.reshape_to, shape.flatten}
MOVES = RESHAPES | {shape.transpose, shape.squeeze, shape.unsqueeze, shape.slice_, shape.take, shape.gather}
MOVES |= {shape.split, operator.getitem}
MOST_ELEMENTS = 2**24  # a larger value is not looked through


@dataclass(frozen=True)
class Shuffle:
    """`node` has what `root` has, at these positions along `axis`."""

    root: fx.Node
    axis: int
    positions: Ids


@dataclass(frozen=True)
class _Chain:
    """Where each element of a value comes from: flat positions in `root`, and whether a reshape was on the way."""

    root: fx.Node
    origin: Any
    reshaped: bool = False


def find_shuffles(
    graph: fx.GraphModule, shapes: dict[fx.Node, Any]
) -> tuple[dict[fx.Node, Shuffle], dict[fx.Node, fx.Node]]:
    """The ends of such chains, and the nodes that serve nothing but them, each with its root."""
    chains: dict[fx.Node, _Chain] = {}
    ends: dict[fx.Node, Shuffle] = {}
    for node in graph.graph.nodes:
        chain = _extended(graph, node, chains, shapes)
        if chain is None:
            continue
        found = _as_shuffle(chain, shapes) if chain.reshaped and isinstance(chain.origin, Tensor) else None
        if found is None:
            chains[node] = chain
        else:
            ends[node] = found
    inner: dict[fx.Node, fx.Node] = {}
    for node in reversed(list(chains)):
        if node.users and all(user in inner or user in ends for user in node.users):
            inner[node] = chains[node].root
    return ends, inner


def _extended(
    graph: fx.GraphModule, node: fx.Node, chains: dict[fx.Node, _Chain], shapes: dict[fx.Node, Any]
) -> _Chain | None:
    """The chain that a move of a value continues or begins; None for anything else."""
    if node.op != "call_function" or node.target not in MOVES or not isinstance(node.args[0], fx.Node):
        return None
    source = node.args[0]
    chain = chains.get(source) or _begun(source, shapes)
    if chain is None:
        return None
    try:
        origin = _moved(graph, node, chain.origin, shapes)
    except (RuntimeError, IndexError):
        return None
    return None if origin is None else _Chain(chain.root, origin, chain.reshaped or node.target in RESHAPES)


def _begun(source: fx.Node, shapes: dict[fx.Node, Any]) -> _Chain | None:
    sizes = shapes[source]
    if isinstance(sizes, list) or not 0 < np.prod(sizes) <= MOST_ELEMENTS or source.op == "get_attr":
        return None
    return _Chain(source, torch.arange(int(np.prod(sizes)), dtype=torch.int32).reshape(sizes))


def _moved(graph: fx.GraphModule, node: fx.Node, origin: Any, shapes: dict[fx.Node, Any]) -> Any:
    if node.target is operator.getitem:
        return origin[node.args[1]]
    if node.target in RESHAPES:
        return origin.reshape(shapes[node])
    if node.target is shape.gather:
        indices = node.args[1]
        assert isinstance(indices, fx.Node)
        if indices.op != "get_attr":
            return None
        return shape.gather(origin, getattr(graph, str(indices.target)).cpu(), axis=node.kwargs["axis"])  # pyright: ignore[reportArgumentType]  # an int literal
    assert callable(node.target)
    return node.target(origin, **node.kwargs)


def _as_shuffle(chain: _Chain, shapes: dict[fx.Node, Any]) -> Shuffle | None:
    """The chain as a pick along one axis of its root, if it is one."""
    sizes, came = shapes[chain.root], tuple(chain.origin.shape)
    if len(sizes) != len(came) or sum(a != b for a, b in zip(sizes, came, strict=True)) > 1:
        return None
    places = np.unravel_index(chain.origin.numpy(), sizes)
    picked = [axis for axis, place in enumerate(places) if not _is_plain(place, axis, sizes[axis])]
    if len(picked) != 1:
        return None
    (axis,) = picked
    line = np.moveaxis(places[axis], axis, 0).reshape(came[axis], -1)
    if not (line == line[:, :1]).all():
        return None
    return Shuffle(chain.root, axis, line[:, 0].astype(np.int64))


def _is_plain(place: np.ndarray, axis: int, size: int) -> bool:
    """Whether the positions along an axis are those of the axis itself."""
    if place.shape[axis] != size:
        return False
    view = [1] * place.ndim
    view[axis] = -1
    return bool((place == np.arange(size).reshape(view)).all())
