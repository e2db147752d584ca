"""Tucker-2 by truncated HOSVD: a convolution becomes 1 x 1, a small kernel, 1 x 1.

Kim et al. 2016, "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
arXiv:1511.06530, section 3.1. The factors are the leading singular vectors of the kernel unfolded along outputs
and along inputs (De Lathauwer et al. 2000); the squared error is at most the sum of both modes' squared singular
values left out. Departure: ranks by energy, ratio or cost where the paper uses variational Bayes, and no
iteration after the HOSVD, which gains little and costs a hundred times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.techniques.lowrank.ranks import rank_by_energy, rounded
from core.techniques.parts import Convolution, Replacement, convolution, layers_to_replace, put
from core.techniques.registry import technique
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Network


@technique(steps.TuckerFactorisation)
def factor_by_tucker(network: Network, step: steps.TuckerFactorisation, ctx: Context) -> None:
    layers = []
    for layer in layers_to_replace(network, step, ctx):
        if math.prod(layer.weight.shape[2:]) > 1:
            layers.append(layer)
        else:
            ctx.note(f"{layer.name}: left alone, a kernel of one place has nothing between its two factors")
    for place, layer in enumerate(layers):
        put(network, layer, factored(layer.module, step), step.only_if_smaller, ctx)
        ctx.progress((place + 1) / len(layers), layer.name)


def factored(module: nn.Module, step: steps.TuckerFactorisation) -> Replacement:
    """The three layers that stand for an ungrouped convolution."""
    assert isinstance(module, Convolution)
    weight = module.weight.detach()
    bases = outputs, inputs = basis(weight, 0), basis(weight, 1)
    ranks = chosen_ranks(bases, module, step)
    factors = truncated(weight, outputs.vectors[:, : ranks[0]], inputs.vectors[:, : ranks[1]])
    ones = (1,) * (weight.dim() - 2)
    parts = {
        "reduce": convolution(factors.inputs.T.reshape(ranks[1], -1, *ones), None),
        "core": convolution(factors.core, None, like=module),
        "expand": convolution(factors.outputs.reshape(-1, ranks[0], *ones), module.bias),
    }
    error = float((weight - factors.kernel()).norm() / weight.norm().clamp_min(1e-30))
    full = f"{len(weight)} x {weight.shape[1]}"
    note = f"ranks {ranks[0]} x {ranks[1]} of {full}, relative error of the weights {error:.3g}"
    return Replacement(parts, cost_of(ranks, module) / weight.numel(), note)


@dataclass(frozen=True)
class Basis:
    """Left singular vectors (size, size or fewer) of an unfolding, as columns, and its singular values."""

    vectors: Tensor
    singular: Tensor


def basis(kernel: Tensor, mode: int) -> Basis:
    unfolded = kernel.double().movedim(mode, 0).flatten(1)
    vectors, singular, _ = torch.linalg.svd(unfolded, full_matrices=False)
    return Basis(vectors, singular)


@dataclass(frozen=True)
class TuckerFactors:
    """kernel ~ core x_0 outputs x_1 inputs: (out, r), (in, s) and (r, s, *kernel)."""

    outputs: Tensor
    inputs: Tensor
    core: Tensor

    def kernel(self) -> Tensor:
        return torch.einsum("nr,rs...,cs->nc...", self.outputs, self.core, self.inputs)


def truncated(kernel: Tensor, outputs: Tensor, inputs: Tensor) -> TuckerFactors:
    """The kernel projected onto orthonormal columns along outputs and along inputs."""
    core = torch.einsum("nr,nc...,cs->rs...", outputs, kernel.double(), inputs)
    return TuckerFactors(outputs.to(kernel.dtype), inputs.to(kernel.dtype), core.to(kernel.dtype))


def chosen_ranks(bases: tuple[Basis, Basis], module: Convolution, step: steps.TuckerFactorisation) -> tuple[int, int]:
    """Ranks along outputs and inputs by the step's measure; a budget takes the same fraction of both."""
    outputs, inputs = bases
    full = len(outputs.singular), len(inputs.singular)
    if step.energy is not None:
        wanted = (rank_by_energy(outputs.singular, step.energy), rank_by_energy(inputs.singular, step.energy))
        return _rounded(wanted, full, step.round_to, up=True)
    if step.ratio is not None:
        return _rounded((step.ratio * full[0], step.ratio * full[1]), full, step.round_to, up=True)
    assert step.macs is not None
    budget, most = step.macs * module.weight.numel(), max(full)
    fractions = (place / most for place in range(most, 0, -1))
    candidates = (_rounded((f * full[0], f * full[1]), full, step.round_to, up=False) for f in fractions)
    least = _rounded((1, 1), full, step.round_to, up=False)
    return next((ranks for ranks in candidates if cost_of(ranks, module) <= budget), least)


def _rounded(wanted: tuple[float, float], full: tuple[int, int], multiple: int, *, up: bool) -> tuple[int, int]:
    return rounded(wanted[0], full[0], multiple, up=up), rounded(wanted[1], full[1], multiple, up=up)


def cost_of(ranks: tuple[int, int], module: Convolution) -> float:
    """Multiply-accumulates for each place of the output; the first 1 x 1 works on the input, before any stride."""
    out, inner, *kernel = module.weight.shape
    return ranks[1] * inner * math.prod(module.stride) + ranks[0] * ranks[1] * math.prod(kernel) + out * ranks[0]
