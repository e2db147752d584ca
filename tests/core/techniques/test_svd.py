import math

import pytest
import torch
from torch import nn

from core.techniques.lowrank.ranks import rank_by_cost, rank_by_energy, rounded
from core.techniques.lowrank.svd import factored, spatial_matrix, truncation_error
from core.techniques.parts import parameter_count
from modelpress.steps import SvdFactorisation

torch.manual_seed(0)


def conv(channels: int, out: int, kernel: tuple[int, int], **geometry) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, **geometry)


def chain(parts) -> nn.Sequential:
    return nn.Sequential(*parts.values())


def exactly(rank: int, full: int, **choice) -> SvdFactorisation:
    return SvdFactorisation(ratio=rank / full, round_to=1, **choice)


LAYERS = [
    (nn.Linear(12, 9), (5, 12)),
    (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 11)),
    (conv(4, 6, (3, 3), padding=1, stride=2), (2, 4, 9, 8)),
    (conv(5, 7, (3, 5), padding=(2, 1), stride=(1, 2), dilation=(2, 1), bias=False), (2, 5, 13, 12)),
    (nn.Conv3d(3, 4, 3, padding=1), (1, 3, 4, 5, 6)),
]


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "")
def test_at_full_rank_nothing_changes(layer, shape, scheme):
    x = torch.randn(shape)
    found = factored(layer, SvdFactorisation(energy=1 - 1e-12, round_to=1, scheme=scheme))
    torch.testing.assert_close(chain(found.parts)(x), layer(x), atol=1e-5, rtol=1e-4)


def test_a_linear_layer_of_known_rank_is_found_exactly():
    layer = nn.Linear(20, 15)
    layer.weight.data = torch.randn(15, 3) @ torch.randn(3, 20)
    found = factored(layer, SvdFactorisation(energy=1 - 1e-9, round_to=1))
    assert found.parts["down"].weight.shape == (3, 20)
    assert found.cost == pytest.approx(3 * (20 + 15) / (20 * 15))


def test_the_diagonal_matrix_3_2_1_keeps_its_greatest_entry():
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    found = factored(layer, exactly(1, 3))
    product = found.parts["up"].weight @ found.parts["down"].weight
    torch.testing.assert_close(product, torch.diag(torch.tensor([0.0, 3.0, 0.0])), atol=1e-6, rtol=0)
    assert truncation_error(torch.tensor([3.0, 2.0, 1.0]), 1) == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_error_is_the_root_of_the_squares_left_out(scheme, rank):
    """Tai et al. 2016, theorem 1, and Eckart-Young for the other scheme."""
    layer = conv(6, 10, (3, 3), bias=False)
    matrix = spatial_matrix(layer.weight.detach()) if scheme == "spatial" else layer.weight.detach().flatten(1)
    singular = torch.linalg.svdvals(matrix.double())
    found = factored(layer, exactly(rank, len(singular), scheme=scheme))
    left_out = (layer.weight.detach() - merged(found.parts, scheme)).norm()
    assert float(left_out) == pytest.approx(truncation_error(singular, rank), rel=1e-4)


def merged(parts, scheme: str) -> torch.Tensor:
    """The kernel that two layers amount to, multiplied out."""
    first, second = (part.weight.detach() for part in parts.values())
    if scheme == "spatial":
        return torch.einsum("kci,nkj->ncij", first[..., 0], second[:, :, 0])
    return torch.einsum("kcij,nk->ncij", first, second[:, :, 0, 0])


def test_spatial_parameters_are_as_tai_counts_them():
    d, c, n, rank = 3, 8, 16, 8
    found = factored(conv(c, n, (d, d), bias=False), exactly(rank, d * c, scheme="spatial"))
    assert parameter_count(found.parts.values()) == d * rank * (c + n)


def test_a_stride_makes_the_vertical_filter_dearer():
    plain, strided = (factored(conv(8, 8, (3, 3), stride=s), exactly(4, 24, scheme="spatial")) for s in (1, 2))
    assert plain.cost == pytest.approx(4 * (24 + 24) / 576)
    assert strided.cost == pytest.approx(4 * (48 + 24) / 576)


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8])
def test_a_budget_of_macs_holds_and_is_used(scheme, keep):
    found = factored(conv(16, 32, (3, 3)), SvdFactorisation(macs=keep, round_to=1, scheme=scheme))
    assert keep - 0.1 < found.cost <= keep


def test_energy_is_a_share_of_the_squares():
    singular = torch.tensor([3.0, 2.0, 1.0])  # squares 9, 4, 1 of 14
    assert [rank_by_energy(singular, share) for share in (0.6, 9 / 14 - 1e-9, 0.65, 0.93, 0.99)] == [1, 1, 2, 3, 3]


def test_no_energy_at_all_is_one_rank():
    assert rank_by_energy(torch.zeros(4), 0.9) == 1


def test_cost_never_asks_for_nothing_or_more_than_there_is():
    assert [rank_by_cost(10, 5.0, budget) for budget in (1.0, 26.0, 1000.0)] == [1, 5, 10]


@pytest.mark.parametrize(
    "rank, full, up, expected",
    [(9, 64, True, 16), (9, 64, False, 8), (3, 64, False, 8), (60, 62, True, 62), (3, 8, True, 3), (16, 64, True, 16)],
)
def test_ranks_are_multiples_of_eight_where_there_are_enough(rank, full, up, expected):
    assert rounded(rank, full, 8, up=up) == expected
