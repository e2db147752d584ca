"""Magnitude pruning: zero the weights nearest to zero.

Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", arXiv:1506.02626, section 3;
the schedule from Zhu and Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, equation 1. Departures: an exact
fraction goes, where Han compares with a threshold; and a cut is followed by fine-tuning, not by a fixed number of
steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.formulas import Codebook, Formula, Masked
from core.techniques.distinct import chosen_layers, distinct, left_alone, names_of
from core.techniques.registry import technique
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Layer, Network


@technique(steps.MagnitudePruning)
def prune_by_magnitude(network: Network, step: steps.MagnitudePruning, ctx: Context) -> None:
    layers = distinct(chosen_layers(network, step))
    before = sparsity_of([magnitudes(layer) for layer in layers])
    for cut in range(1, step.gradual + 1):
        sparsity = scheduled(before, step.sparsity, cut / step.gradual)
        for layer, mask in zip(layers, masks(layers, sparsity, step.scope), strict=True):
            layer.reparametrise(Masked(mask, shared_values(layer.formula)))
        if cut < step.gradual and step.epochs > 0:
            ctx.fit(network, epochs=step.epochs)
        ctx.progress(cut / step.gradual, f"{sparsity:.1%} of the weights are zero")
    ctx.note(
        f"{sparsity_of([magnitudes(layer) for layer in layers]):.1%} of the weights are zero: {names_of(layers)}; "
        + left_alone(network, layers)
    )
    for layer in layers:
        if not layer.weight.any():
            ctx.warn("layer_emptied", f"all weights of {layer.name} are zero: choose `scope: layer`, or skip it")


def scheduled(start: float, final: float, progress: float) -> float:
    """Sparsity after a share of the cuts: steep at first, gentle at the end. Never below the start."""
    return final + (min(start, final) - final) * (1 - progress) ** 3


def masks(layers: list[Layer], sparsity: float, scope: str) -> list[Tensor]:
    """What each layer keeps when a fraction of the weights, of each or of all together, goes."""
    scores = [magnitudes(layer) for layer in layers]
    if scope == "layer":
        return [keep_mask(score, sparsity) for score in scores]
    kept = keep_mask(torch.cat([score.flatten() for score in scores]), sparsity)
    parts = kept.split([score.numel() for score in scores])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def magnitudes(layer: Layer) -> Tensor:
    """How far each weight is from zero; below zero for one that was dropped before, so that it goes first."""
    score = layer.weight.detach().abs()
    return torch.where(layer.formula.mask, score, -1.0) if isinstance(layer.formula, Masked) else score


def sparsity_of(scores: list[Tensor]) -> float:
    """Fraction that was dropped before."""
    return sum(int((score < 0).sum()) for score in scores) / sum(score.numel() for score in scores)


def keep_mask(scores: Tensor, sparsity: float) -> Tensor:
    """True for all but an exact fraction of lowest scores; of equal ones the first go.

    Returns:
        bool, in the shape of `scores`, with round(sparsity * count) false.
    """
    drop = round(sparsity * scores.numel())
    if drop == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    flat = scores.flatten()
    threshold = flat.kthvalue(drop).values
    dropped = flat < threshold
    ties = (flat == threshold).nonzero()[:, 0]
    dropped[ties[: drop - int(dropped.sum())]] = True
    return ~dropped.reshape(scores.shape)


def shared_values(formula: Formula | None) -> Formula | None:
    """A codebook like the one that the kept weights share already, so that they go on sharing."""
    found = formula.values if isinstance(formula, Masked) else formula
    return Codebook(found.bits, found.iterations) if isinstance(found, Codebook) else None
