import numpy as np
import pytest
import torch

from core.formulas import AffineInt8, Codebook, Emitter, Masked
from core.formulas.affine import channel_scale
from tests.core.formulas.loaded import computed, folded


def fitted(shape: tuple[int, ...], **options) -> AffineInt8:
    formula = AffineInt8(**options)
    formula.fit(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return formula


def test_the_widest_weight_of_a_channel_reaches_the_end_of_the_range():
    weight = torch.tensor([[1.0, -3.5], [0.0, 0.0]])
    assert channel_scale(weight, axis=0, bits=4).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("bits", [7, 8])
def test_no_weight_moves_further_than_half_a_step(axis, bits):
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    formula = AffineInt8(axis, bits)
    formula.fit(weight)
    assert (formula() - weight).abs().max() <= 0.5001 * formula.scale.max()
    assert formula.integers().abs().max() == 2 ** (bits - 1) - 1


def test_the_gradient_passes_straight_through_the_rounding():
    formula = fitted((4, 5))
    formula().sum().backward()
    inside = (formula.weight / formula.scale[:, None]).abs() < 127
    assert torch.equal(formula.weight.grad[inside], torch.ones(int(inside.sum())))


def test_the_scale_learns_as_in_lsq():
    formula = fitted((1, 50))
    formula().sum().backward()
    steps = (formula.weight / formula.scale).detach()
    expected = torch.where(steps.abs() <= 127, steps.round() - steps, steps.clamp(-127, 127)).sum()
    assert torch.allclose(formula.scale.grad, expected, atol=1e-3)


@pytest.mark.parametrize("integer_kernels", [True, False])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (61, 67)], ids=str)
def test_onnxruntime_computes_the_same_weight(shape, axis, integer_kernels):
    formula = fitted(shape, axis=axis, integer_kernels=integer_kernels)
    assert np.array_equal(computed(formula), formula().detach().numpy())


@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (64, 128)], ids=["conv", "linear"])
def test_loading_folds_it_to_a_plain_operator(shape, tmp_path):
    formula = fitted(shape)
    operators, constants = folded(formula, tmp_path)
    assert operators in (["Conv"], ["Gemm"])
    assert any(c.shape == shape and np.allclose(c, formula().detach().numpy(), atol=1e-6) for c in constants)


def test_a_weight_takes_eight_bits_each_and_a_scale_a_channel():
    assert sum(s.total_bits for s in fitted((32, 16, 3, 3)).stored()) == 8 * 32 * 16 * 9 + 32 * 32


def test_the_file_shrinks_to_a_quarter():
    out = Emitter()
    fitted((256, 512)).emit(out, "w")
    written = sum(i.ByteSize() for i in out.initializers) + sum(n.ByteSize() for n in out.nodes)
    assert 4 * 256 * 512 / written > 3.9


def trained(formula: AffineInt8) -> torch.Tensor:
    """The weight after a step of gradient descent away from where it was fitted."""
    formula.fit(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    formula().square().sum().backward()
    torch.optim.SGD(formula.parameters(), lr=0.01).step()
    return formula().detach()


def test_what_a_nested_mask_dropped_stays_dropped_while_training():
    mask = torch.eye(8, dtype=torch.bool)
    assert trained(AffineInt8(weight=Masked(mask)))[~mask].count_nonzero() == 0


def test_values_shared_by_a_nested_codebook_stay_shared_while_training():
    assert trained(AffineInt8(axis=None, weight=Codebook(bits=2))).unique().numel() <= 4


@pytest.mark.parametrize("axis, keep", [(0, [3, 0]), (1, [2]), (3, [1, 2])])
@pytest.mark.parametrize("channels", [0, 1, None])
@pytest.mark.parametrize("nested", [None, Codebook(bits=3)], ids=["plain", "codebook"])
def test_selecting_then_computing_is_computing_then_indexing(axis, keep, channels, nested):
    formula = fitted((4, 6, 3, 3), axis=channels, weight=nested)
    expected = formula().detach().index_select(axis, torch.tensor(keep))
    formula.select(axis, torch.tensor(keep))
    assert torch.equal(formula(), expected)
