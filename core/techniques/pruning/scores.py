"""How much a channel is worth: one score per unit, higher is worth more.

- l1: sum of the absolute weights of its filters (Li et al. 2017, arXiv:1608.08710, section 3.1).
- l2: norm of everything that would go with it, filters and the columns that read them (group norm of Fang et al.
  2023, arXiv:2301.12900, section 3.3).
- bn_scale: absolute scale of its batch norms (Liu et al. 2017, arXiv:1708.06519).
- taylor: |sum of weight x gradient| over its filters, squared and averaged over batches (Molchanov et al. 2019,
  arXiv:1906.10771, equation 8).
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.network.channels import Channels, ParameterAxis
from core.network.network import Network

Scores = NDArray[np.float64]


def filter_norms(network: Network, channels: Channels) -> Scores:
    """(units,) L1 norm of the filters of each unit, bias left out."""
    return _gather(network, channels, lambda axis: axis.produces and axis.tensor == "weight", torch.abs)


def group_norms(network: Network, channels: Channels) -> Scores:
    """(units,) L2 norm of all weights that go with each unit, batch norms left out."""
    return np.sqrt(_gather(network, channels, lambda axis: axis.tensor == "weight", torch.square, norms=False))


def scale_norms(network: Network, channels: Channels) -> Scores:
    """(units,) sum of the absolute batch-norm scales of each unit; NaN where it has none."""
    normed = {name for name, m in network.graph.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    chosen = [a for a in channels.axes if a.owner in normed and a.tensor == "weight"]
    scores = np.full(channels.count, np.nan)
    for axis in chosen:
        scores[axis.ids] = 0.0
    for axis in chosen:
        np.add.at(scores, axis.ids, _values(network, axis, torch.abs))
    return scores


def taylor(network: Network, channels: Channels, losses: Iterable[Tensor]) -> Scores:
    """(units,) squared first-order loss change if the unit went, averaged over `losses` (one a batch)."""
    total, batches = np.zeros(channels.count), 0
    for loss in losses:
        network.graph.zero_grad(set_to_none=True)
        loss.backward()
        change = np.zeros(channels.count)
        for axis in channels.axes:
            if axis.produces:
                tensor = getattr(network.graph.get_submodule(axis.owner), axis.tensor)
                if tensor.grad is not None:
                    np.add.at(change, axis.ids, _along(tensor.detach() * tensor.grad, axis.axis))
        total += change**2
        batches += 1
    network.graph.zero_grad(set_to_none=True)
    return total / max(batches, 1)


def _gather(
    network: Network,
    channels: Channels,
    wanted: Callable[[ParameterAxis], bool],
    measure: Callable[[Tensor], Tensor],
    norms: bool = True,
) -> Scores:
    scores = np.zeros(channels.count)
    for axis in channels.axes:
        module = network.graph.get_submodule(axis.owner)
        if not wanted(axis) or (not norms and isinstance(module, nn.modules.batchnorm._BatchNorm)):
            continue
        if axis.parts is not None:
            weight = measure(getattr(module, axis.tensor).detach())
            for rows, ids in zip(weight.chunk(len(axis.parts)), axis.parts, strict=True):
                np.add.at(scores, ids, _along(rows, axis.axis))
        else:
            np.add.at(scores, axis.ids, _values(network, axis, measure))
    return scores


def _values(network: Network, axis: ParameterAxis, measure: Callable[[Tensor], Tensor]) -> Scores:
    return _along(measure(getattr(network.graph.get_submodule(axis.owner), axis.tensor).detach()), axis.axis)


def _along(tensor: Tensor, axis: int) -> Scores:
    """(size,) sums over all axes but one."""
    if tensor.dim() > 1:
        tensor = tensor.movedim(axis, 0).flatten(1).double().sum(1)
    return tensor.double().cpu().numpy()
