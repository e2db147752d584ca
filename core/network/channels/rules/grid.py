"""How identities of channels pass images that are read at a grid of places."""

from __future__ import annotations

from torch import fx

from core.network.channels.carriers import Carried, Carrier
from core.network.channels.rules.arithmetic import aligned
from core.network.channels.trace import Trace, rule
from core.network.ops.grid import affine_grid, grid_sample


@rule(grid_sample)
def pass_grid_sample(trace: Trace, node: fx.Node) -> Carried:
    """Every channel is read at the same places; images that are heads go with their grids."""
    x, grid = node.all_input_nodes
    trace.lock_others(grid, [0], f"it says where {trace.name(node)} reads")
    trace.lock_others(x, [0, 1], f"{trace.name(node)} interpolates along it")
    rank = len(trace.shape(x))
    images = aligned(trace, node, [x, grid], rank, trace.shape(node)[0])
    channels = [carrier for carrier in trace.carriers(x) if carrier.axes == (1,)]
    return channels if images is None else [Carrier((0,), images), *channels]


@rule(affine_grid)
def pass_affine_grid(trace: Trace, node: fx.Node) -> Carried:
    """Every number of the matrices has a meaning of its own."""
    for value in node.all_input_nodes:
        trace.lock_all(value, f"{trace.name(node)} computes places from it")
    return []
