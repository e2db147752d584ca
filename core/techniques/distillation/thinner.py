"""A thinner copy: the same network with a fraction of its channels, everywhere alike."""

from math import gcd, lcm

import numpy as np
import torch
from numpy.typing import NDArray

from core.network.channels import analyse
from core.network.channels.surgery import remove_units
from core.network.channels.units import Channels, Group
from core.network.network import Network
from modelpress.problem import StepError

ROUND_TO = 8
"""Channel counts are multiples of this where a group is large enough: runtimes are fast only on full registers."""


def make_thinner(network: Network, width: float) -> None:
    """Keep this fraction of the channels of every group that can lose some, those of the largest filters.

    Raises:
        StepError: no channel can be removed.
    """
    if width == 1.0:
        return
    channels = analyse(network)
    norms = filter_norms(network, channels)
    removed = np.zeros(channels.count, dtype=bool)
    for group in channels.groups:
        removed[surplus(group, norms, width)] = True
    removed = channels.balanced(removed)
    if not removed.any():
        raise StepError(
            f"no channel of this network can be removed in multiples of {ROUND_TO} at width {width:g}",
            hint="Choose a student of the zoo, or a smaller width.",
        )
    remove_units(network, channels, np.flatnonzero(removed))


@torch.no_grad()
def filter_norms(network: Network, channels: Channels) -> NDArray[np.float64]:
    """(units,) squared norm of the filters of each unit, over all layers that it is computed in."""
    norms = np.zeros(channels.count)
    for axis in channels.axes:
        if axis.produces and axis.is_weight and axis.parts is None:
            weight: torch.Tensor = getattr(network.graph.get_submodule(axis.owner), axis.tensor)
            squares = weight.double().movedim(axis.axis, 0).flatten(1).square().sum(1)
            np.add.at(norms, axis.ids, squares.cpu().numpy())
    return norms


def surplus(group: Group, norms: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    """The units that go: equally many of each balanced part, the smallest first."""
    parts = [group.units[group.parts == part] for part in np.unique(group.parts)]
    multiple, size = lcm(ROUND_TO // gcd(ROUND_TO, group.width), len(parts)), len(group.units)
    kept = size if size <= multiple else min(size, max(1, round(width * size / multiple)) * multiple)
    gone = (size - kept) // len(parts)
    return np.concatenate([part[np.argsort(norms[part], kind="stable")[:gone]] for part in parts])
