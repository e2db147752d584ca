import math
import warnings

import pytest
import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import nn

from core.techniques.lowrank.tucker import basis, chosen_ranks, cost_of, factored, truncated
from modelpress.steps import TuckerFactorisation

torch.manual_seed(0)


def chain(parts) -> nn.Sequential:
    return nn.Sequential(*parts.values())


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Conv2d(6, 8, 3, padding=1, stride=2), (2, 6, 9, 9)),
        (nn.Conv2d(8, 6, (1, 5), dilation=(1, 2), bias=False), (2, 8, 4, 12)),
        (nn.Conv1d(5, 7, 3, padding=2), (2, 5, 10)),
        (nn.Conv3d(4, 4, 3), (1, 4, 5, 5, 5)),
    ],
)
def test_at_full_ranks_nothing_changes(layer, shape):
    x = torch.randn(shape)
    found = factored(layer, TuckerFactorisation(energy=1 - 1e-12, round_to=1))
    torch.testing.assert_close(chain(found.parts)(x), layer(x), atol=1e-5, rtol=1e-4)


def test_a_kernel_of_known_ranks_is_found_exactly():
    layer = nn.Conv2d(12, 16, 3)
    core = torch.randn(4, 3, 3, 3)
    layer.weight.data = torch.einsum("nr,rsij,cs->ncij", torch.randn(16, 4), core, torch.randn(12, 3))
    found = factored(layer, TuckerFactorisation(energy=1 - 1e-9, round_to=1))
    assert found.parts["core"].weight.shape == (4, 3, 3, 3)
    torch.testing.assert_close(chain(found.parts)(x := torch.randn(1, 12, 5, 5)), layer(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("ranks", [(2, 3), (6, 4), (8, 1)])
def test_the_squared_error_is_within_what_both_modes_leave_out(ranks):
    kernel = torch.randn(8, 6, 3, 3)
    outputs, inputs = basis(kernel, 0), basis(kernel, 1)
    factors = truncated(kernel, outputs.vectors[:, : ranks[0]], inputs.vectors[:, : ranks[1]])
    tails = [float((b.singular[r:] ** 2).sum()) for b, r in zip((outputs, inputs), ranks, strict=True)]
    error = float((kernel - factors.kernel()).norm() ** 2)
    assert max(tails) - 1e-4 <= error <= sum(tails) + 1e-4


def test_iterating_as_tensorly_does_gains_little():
    """The oracle: higher-order orthogonal iteration from the same start, run to convergence."""
    kernel, ranks = torch.randn(16, 12, 3, 3), (8, 6)
    factors = truncated(kernel, basis(kernel, 0).vectors[:, :8], basis(kernel, 1).vectors[:, :6])
    with tensorly.backend_context("pytorch"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorly's own
        (core, bases), _ = partial_tucker(kernel, rank=list(ranks), modes=[0, 1], init="svd", n_iter_max=50)
    best = torch.einsum("nr,rsij,cs->ncij", bases[0], core, bases[1])
    ours, theirs = float((kernel - factors.kernel()).norm()), float((kernel - best).norm())
    assert theirs <= ours + 1e-4
    assert ours <= 1.05 * theirs


def test_the_factors_have_orthonormal_columns():
    for mode in (0, 1):
        vectors = basis(torch.randn(5, 7, 3), mode).vectors
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(vectors.shape[1], dtype=vectors.dtype))


def test_cost_counts_the_first_factor_before_the_stride():
    layer = nn.Conv2d(10, 20, 3, stride=2)
    assert cost_of((4, 5), layer) == 5 * 10 * 4 + 4 * 5 * 9 + 20 * 4


@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_a_budget_of_macs_holds_and_is_used(keep):
    layer = nn.Conv2d(32, 64, 3)
    step = TuckerFactorisation(macs=keep, round_to=1)
    ranks = chosen_ranks((basis(layer.weight.detach(), 0), basis(layer.weight.detach(), 1)), layer, step)
    assert keep - 0.05 < cost_of(ranks, layer) / layer.weight.numel() <= keep
    assert math.isclose(ranks[0] / 64, ranks[1] / 32, abs_tol=1 / 32)


def test_a_ratio_speaks_of_both_ranks_and_rounds_to_eight():
    found = factored(nn.Conv2d(32, 64, 3), TuckerFactorisation(ratio=0.3))
    assert found.parts["core"].weight.shape == (24, 16, 3, 3)
