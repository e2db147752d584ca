"""What is lost with a channel: one score per unit, comparable between layers.

A unit occurs in several weights. Of each weight its share is taken, and the shares are added, so that a channel of
a residual sum, which many layers make and read, counts for all of them.

- l1: share of the absolute weights of its filters (Li et al. 2017, arXiv:1608.08710, section 3.1, who rank within
  a layer, which the share leaves as it is).
- l2: share of the squared weights of its filters and of the columns that read them (the group norm of Fang et al.
  2023, arXiv:2301.12900, section 3.3, relative to each weight).
- bn_scale: share of the absolute scales of its batch norms (Liu et al. 2017, arXiv:1708.06519).
- taylor: the squared sum of weight x gradient over its filters, averaged over batches (Molchanov et al. 2019,
  arXiv:1906.10771, equation 8).
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.network.channels.units import Channels, ParameterAxis
from core.network.network import Network

Scores = NDArray[np.float64]


def filter_shares(network: Network, channels: Channels) -> Scores:
    """(units,) l1: what part of the absolute weights its filters are, added over the layers."""
    axes = [a for a in channels.axes if a.produces and a.is_weight]
    return _shares(network, channels, axes, torch.abs)


def group_shares(network: Network, channels: Channels) -> Scores:
    """(units,) l2: what part of the squared weights goes with the unit, added over the layers."""
    axes = [a for a in channels.axes if a.is_weight and _tensor(network, a).dim() > 1]
    return _shares(network, channels, axes, torch.square)


def scale_shares(network: Network, channels: Channels) -> Scores:
    """(units,) what part of the batch-norm scales is its own, added over the norms; NaN where it has none."""
    axes = [a for a in channels.axes if a.is_weight and _is_norm(network, a)]
    scores = _shares(network, channels, axes, torch.abs)
    normed = np.zeros(channels.count, dtype=bool)
    for axis in axes:
        normed[axis.ids] = True
    return np.where(normed, scores, np.nan)


def taylor(network: Network, channels: Channels, losses: Iterable[Tensor]) -> Scores:
    """(units,) squared first-order change of the loss if the unit went, averaged over `losses` (one a batch)."""
    axes = [a for a in channels.axes if a.produces]
    total, batches = np.zeros(channels.count), 0
    for loss in losses:
        network.graph.zero_grad(set_to_none=True)
        loss.backward()
        change = np.zeros(channels.count)
        for axis in axes:
            tensor = _tensor(network, axis)
            if tensor.grad is not None:
                _add_along(change, axis, tensor.detach() * tensor.grad)
        total += change**2
        batches += 1
    network.graph.zero_grad(set_to_none=True)
    return total / max(batches, 1)


def _shares(
    network: Network, channels: Channels, axes: list[ParameterAxis], measure: Callable[[Tensor], Tensor]
) -> Scores:
    scores = np.zeros(channels.count)
    for axis in axes:
        sizes = measure(_tensor(network, axis).detach())
        whole = float(sizes.double().sum())
        if whole != 0:
            _add_along(scores, axis, sizes / whole)
    return scores


def _add_along(scores: Scores, axis: ParameterAxis, values: Tensor) -> None:
    """Add what a tensor holds at each place of an axis to the score of the unit there."""
    if axis.parts is None:
        np.add.at(scores, axis.ids, _along(values, axis.axis))
        return
    for rows, ids in zip(values.chunk(len(axis.parts)), axis.parts, strict=True):
        np.add.at(scores, ids, _along(rows, axis.axis))


def _tensor(network: Network, axis: ParameterAxis) -> Tensor:
    return getattr(network.graph.get_submodule(axis.owner), axis.tensor)


def _is_norm(network: Network, axis: ParameterAxis) -> bool:
    return isinstance(network.graph.get_submodule(axis.owner), nn.modules.batchnorm._BatchNorm)


def _along(tensor: Tensor, axis: int) -> Scores:
    """(size,) sums over all axes but one."""
    if tensor.dim() > 1:
        tensor = tensor.movedim(axis, 0).flatten(1).double().sum(1)
    return tensor.double().cpu().numpy()
