"""Filter pruning: remove the filters that matter least, and everything that depended on them.

Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv:1608.08710, with the couplings of residual sums,
concatenations and groups solved as in Fang et al. 2023, "DepGraph", arXiv:2301.12900. Departures: counts are
rounded to what processors like (8); and where the goal is a number of multiply-accumulates, channels go in the
order of what is lost with them for each operation that is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from core.network.channels import analyse
from core.network.channels.surgery import remove_units
from core.network.channels.units import Channels, Group
from core.network.layer import Layer
from core.network.network import Network
from core.network.ops.recurrent import Recurrent
from core.network.shapes import value_shapes
from core.techniques.pruning import scores
from core.techniques.pruning.budget import CostModel, LayerCost, Pruner
from core.techniques.registry import technique
from modelpress import steps
from modelpress.problem import StepError
from modelpress.selection import select_layers

if TYPE_CHECKING:
    from core.context import Context

TAYLOR_BATCH = 64


@technique(steps.FilterPruning)
def prune_filters(network: Network, step: steps.FilterPruning, ctx: Context) -> None:
    ctx.progress(0.0, "finding what depends on what")
    channels = analyse(network, approximate=step.approximate)
    groups = chosen_groups(network, channels, step)
    worth = score(network, channels, groups, step.criterion, ctx)
    pruner = Pruner(channels, groups, worth, step.round_to, step.scope == "global")
    if step.macs is not None:
        costs = layer_costs(network, channels)
        removed = pruner.by_cost(costs, step.macs)
        warn_if_missed(CostModel(costs, groups, channels.count), groups, removed, step.macs, ctx)
    else:
        assert step.ratio is not None
        removed = pruner.by_fraction(step.ratio)
    if not removed.any():
        raise StepError(
            f"rounding counts to multiples of {step.round_to} leaves nothing to remove",
            hint="Ask for more, or set `round_to` to a smaller number.",
        )
    averaged = int(removed[channels.approximate].sum())
    if averaged:
        ctx.note(f"approximate: normalisations average over {averaged} channels fewer")
    remove_units(network, channels, np.flatnonzero(removed))
    for group in groups:
        gone = int(removed[group.units].sum())
        ctx.note(f"{', '.join(group.layers)}: {len(group.units)} -> {len(group.units) - gone} channels")


def warn_if_missed(
    model: CostModel, groups: list[Group], removed: NDArray[np.bool_], wanted: float, ctx: Context
) -> None:
    """Say so where locks and rounding leave more than was asked for."""
    kept = np.array([len(group.units) - removed[group.units].sum() for group in groups], dtype=np.float64)
    reached = model.total(kept) / model.total(model.sizes)
    if reached > wanted:
        ctx.warn(
            "macs_not_reached",
            f"{wanted:.1%} of the multiply-accumulates were asked for, and {reached:.1%} is the least that layers that "
            "can't be cut and round counts allow",
        )


def chosen_groups(network: Network, channels: Channels, step: steps.FilterPruning) -> list[Group]:
    """Groups all of whose filters belong to chosen layers.

    Raises:
        StepError: there is none, with the reasons of the locks.
    """
    layers = network.layers(having="weight")
    chosen = {layer.name for layer in select_layers(step.layers, layers, step.kinds)}
    groups = [group for group in channels.groups if group.layers and set(group.layers) <= chosen]
    if not groups:
        reasons = [
            f"{layer.name}: {reason}"
            for layer in layers
            if layer.name in chosen and (reason := channels.lock_reason(str(layer.node.target)))
        ]
        raise StepError(
            "none of the chosen layers has channels that can be removed; " + "; ".join(reasons[:5]),
            hint="Choose layers together with those they are added to, or see `prunable` in the model's inspection.",
        )
    return groups


def score(network: Network, channels: Channels, groups: list[Group], criterion: str, ctx: Context) -> scores.Scores:
    """(units,) worth of each unit by the step's criterion."""
    if criterion == "l1":
        return scores.filter_shares(network, channels)
    if criterion == "l2":
        return scores.group_shares(network, channels)
    if criterion == "taylor":
        return scores.taylor(network, channels, _losses(network, ctx))
    found = scores.scale_shares(network, channels)
    bare = [name for group in groups if np.isnan(found[group.units]).any() for name in group.layers]
    if bare:
        raise StepError(
            f"{', '.join(bare[:5])} have no batch norm to judge by; it may have been folded into the weights",
            hint="Use `criterion: l2`, or leave these layers out.",
        )
    return found


def _losses(network: Network, ctx: Context) -> Iterator[Tensor]:
    """One loss a batch of the calibration data: against labels, else against the network's own answer."""
    graph = network.train_graph()
    judged = network.output_names.index(ctx.task.output) if ctx.task.output else 0
    for inputs, labels in ctx.data.calibrate.batches(TAYLOR_BATCH):
        outputs = graph(*(inputs[name].to(ctx.device) for name in network.input_names))
        found = outputs[judged].flatten(1).float()
        if ctx.task.type == "classification" and labels is not None:
            yield F.cross_entropy(found, labels.to(ctx.device).long().flatten())
        elif found.shape[1] > 1:
            yield F.cross_entropy(found, found.detach().argmax(1))
        else:
            yield found.square().mean() / 2


def layer_costs(network: Network, channels: Channels) -> list[LayerCost]:
    """Multiply-accumulates of every layer with weights, as a product over the axes of its weight."""
    shapes = value_shapes(network)
    costs = []
    for layer in [matrix for whole in network.layers(having="weight") for matrix in whole.matrices()]:
        axes = [axis for axis in channels.axes if axis.owner == str(layer.node.target) and axis.tensor == layer.tensor]
        outputs = next((axis for axis in axes if axis.produces), None)
        if outputs is not None:
            inputs = next((axis for axis in axes if not axis.produces), None)
            costs.append(LayerCost(_per_pair(layer, shapes), outputs, inputs))
    return costs


def _per_pair(layer: Layer, shapes: dict[Any, Any]) -> float:
    """Multiply-accumulates of a layer for each pair of an output and an input channel."""
    if layer.kind == "Gather":
        return 0.0
    if layer.kind in ("Gemm", "MatMul"):
        return float(np.prod(shapes[layer.node][:-1]))
    if isinstance(layer.module, Recurrent):
        return float(np.prod(shapes[layer.node.args[0]][:-1]))
    walked = layer.node.args[0] if layer.kind == "ConvTranspose" else layer.node
    return float(np.prod(layer.weight.shape[2:]) * np.prod(shapes[walked][2:]))
