"""How identities of channels pass Resize."""

from __future__ import annotations

from typing import Any

from torch import fx

from core.network.channels.carriers import Carried
from core.network.channels.sizes import count_computed, in_every_run
from core.network.channels.trace import Trace, rule
from core.network.ops import fitted_resize, resize


@rule(resize.resize)
def pass_resize(trace: Trace, node: fx.Node) -> Carried:
    """Images change their sides; batches and channels stay."""
    x = node.args[0]
    kept = trace.only(x, [0, 1], f"{trace.name(node)} interpolates along it")
    sizes: Any = node.kwargs["sizes"]
    ids = trace.ids(x, 1)
    if sizes is not None and ids is not None and len(sizes) == len(trace.shape(x)):
        trace.count(node, "sizes", 1, ids)
    return kept


@rule(resize.resize_to)
def pass_computed_resize(trace: Trace, node: fx.Node) -> Carried:
    x = node.args[0]
    kept = trace.only(x, [0, 1], f"{trace.name(node)} interpolates along it")
    ids = trace.ids(x, 1) if node.kwargs.get("axes") is None else None
    if ids is not None and not count_computed(trace, node, 1, ids):
        trace.lock(ids, f"{trace.name(node)} has its size as a constant")
    return kept


@rule(resize.resize_by)
def pass_scaled_resize(trace: Trace, node: fx.Node) -> Carried:
    return trace.only(node.args[0], [0, 1], f"{trace.name(node)} interpolates along it")


@rule(fitted_resize.crop_and_resize, fitted_resize.resize_within)
def pass_fitted_resize(trace: Trace, node: fx.Node) -> Carried:
    """Axes that are not named stay as they are; of a crop those too that keep their size."""
    x = node.args[0]
    rank = len(trace.shape(x))
    axes: Any = node.kwargs["axes"]
    named = set(range(rank)) if axes is None else {axis % rank for axis in axes}
    stays = {0, 1} - named
    if axes is None and _keeps_channels(trace, node):
        stays.add(1)
    return trace.only(x, sorted(stays), f"{trace.name(node)} interpolates along it")


def _keeps_channels(trace: Trace, node: fx.Node) -> bool:
    """Whether the channels, of all axes that are named, are as many after a cut."""
    if node.target is fitted_resize.resize_within:
        return False
    ids = trace.ids(node.args[0], 1)
    if node.kwargs["is_factor"]:
        factors = in_every_run(trace, node.args[1])
        return factors is not None and factors[1] == 1
    return ids is None or count_computed(trace, node, 1, ids)
