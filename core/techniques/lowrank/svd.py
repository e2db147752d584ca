"""Low-rank factorisation by truncated singular values: one layer becomes two thinner ones.

Linear layers: W ~ U V (Girshick 2015, "Fast R-CNN", section 3.1). Kernels, scheme `channel`: K filters and
a 1 x 1 convolution (Denton et al. 2014, arXiv:1404.0736). Kernels, scheme `spatial`: d x 1 then 1 x d
(Jaderberg et al. 2014, arXiv:1405.3866, scheme 2) in the closed form of Tai et al. 2016, arXiv:1511.06067,
theorem 1. Each is the best of its rank in the Frobenius norm: the error is the root of the summed squares of
the singular values left out. Each factor takes half of every singular value, so that their norms are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.techniques.lowrank.ranks import rank_by_cost, rank_by_energy, rounded
from core.techniques.parts import Convolution, Replacement, convolution, layers_to_replace, linear, put
from core.techniques.registry import technique
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Network


@technique(steps.SvdFactorisation)
def factor_by_svd(network: Network, step: steps.SvdFactorisation, ctx: Context) -> None:
    layers = layers_to_replace(network, step, ctx)
    for place, layer in enumerate(layers):
        put(network, layer, factored(layer.module, step), step.only_if_smaller, ctx)
        ctx.progress((place + 1) / len(layers), layer.name)


def factored(module: nn.Module, step: steps.SvdFactorisation) -> Replacement:
    """The two layers that stand for a Linear layer or an ungrouped convolution."""
    assert isinstance(module, nn.Linear | Convolution)
    is_spatial = step.scheme == "spatial" and isinstance(module, nn.Conv2d)
    weight = module.weight.detach()
    matrix = spatial_matrix(weight) if is_spatial else weight.flatten(1)
    cost_of_one = spatial_cost(module) if is_spatial else float(sum(matrix.shape))
    left, singular, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    rank = chosen_rank(singular, cost_of_one, weight.numel(), step)
    factors = truncated(left, singular, right, rank, weight.dtype)
    parts = spatial_parts(module, factors) if is_spatial else channel_parts(module, factors)
    error = truncation_error(singular, rank) / max(truncation_error(singular, 0), 1e-30)
    note = f"rank {rank} of {len(singular)}, relative error of the weights {error:.3g}"
    return Replacement(parts, rank * cost_of_one / weight.numel(), note)


@dataclass(frozen=True)
class Factors:
    """matrix ~ left @ right: (m, rank) and (rank, n)."""

    left: Tensor
    right: Tensor


def truncated(left: Tensor, singular: Tensor, right: Tensor, rank: int, dtype: torch.dtype) -> Factors:
    root = singular[:rank].sqrt()
    return Factors((left[:, :rank] * root).to(dtype), (root[:, None] * right[:rank]).to(dtype))


def truncation_error(singular: Tensor, rank: int) -> float:
    """Frobenius norm of what a truncation to `rank` leaves out."""
    return math.sqrt(float((singular[rank:].double() ** 2).sum()))


def chosen_rank(singular: Tensor, cost_of_one: float, cost: float, step: steps.SvdFactorisation) -> int:
    """Rank by the step's measure. Energy and ratio round up, so that it is kept; a budget down, so that it holds."""
    full = len(singular)
    if step.macs is not None:
        return rounded(rank_by_cost(full, cost_of_one, step.macs * cost), full, step.round_to, up=False)
    if step.ratio is not None:
        return rounded(step.ratio * full, full, step.round_to, up=True)
    assert step.energy is not None  # the step's default
    return rounded(rank_by_energy(singular, step.energy), full, step.round_to, up=True)


def spatial_matrix(kernel: Tensor) -> Tensor:
    """M[(c, i), (n, j)] = W[n, c, i, j]."""
    n, c, height, width = kernel.shape
    return kernel.permute(1, 2, 0, 3).reshape(c * height, n * width)


def spatial_cost(module: nn.Module) -> float:
    """Multiply-accumulates of one rank for each place of the output.

    The vertical filter works at every column of the input; the horizontal stride leaves columns out only after it.
    """
    assert isinstance(module, nn.Conv2d)
    n, c, height, width = module.weight.shape
    return float(c * height * module.stride[1] + n * width)


def channel_parts(module: nn.Linear | Convolution, factors: Factors) -> Mapping[str, nn.Module]:
    """K filters of the old size, then a 1 x 1 convolution that mixes them; two matrices for a Linear layer."""
    if isinstance(module, nn.Linear):
        return {"down": linear(factors.right, None), "up": linear(factors.left, module.bias)}
    rank, kernel = len(factors.right), module.weight.shape[1:]
    mixing = factors.left.reshape(-1, rank, *(1 for _ in kernel[1:]))
    down = convolution(factors.right.reshape(rank, *kernel), None, like=module)
    return {"down": down, "up": convolution(mixing, module.bias)}


def spatial_parts(module: nn.Module, factors: Factors) -> Mapping[str, nn.Module]:
    """d x 1 with the layer's vertical stride and padding, then 1 x d with its horizontal ones."""
    assert isinstance(module, nn.Conv2d)
    n, c, height, width = module.weight.shape
    rank = len(factors.right)
    vertical = factors.left.reshape(c, height, rank).permute(2, 0, 1)[..., None]  # (rank, c, height, 1)
    horizontal = factors.right.reshape(rank, n, width).permute(1, 0, 2)[:, :, None]  # (n, rank, 1, width)
    return {
        "vertical": convolution(vertical, None, like=module, axes=(0,)),
        "horizontal": convolution(horizontal, module.bias, like=module, axes=(1,)),
    }
