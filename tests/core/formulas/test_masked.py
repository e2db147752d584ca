import numpy as np
import pytest
import torch
from torch import Tensor

from core.formulas import Codebook, Emitter, Formula, Masked
from core.formulas.positions import gaps_of, prefers_gaps
from tests.core.formulas.loaded import computed, folded


def sparse(shape: tuple[int, ...], density: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A random weight, and a mask that keeps about `density` of it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) < density


def masked(shape: tuple[int, ...], density: float, values: Formula | None = None) -> Masked:
    weight, mask = sparse(shape, density)
    formula = Masked(mask, values)
    formula.fit(weight)
    return formula


def test_computes_the_weight_where_it_is_kept_and_zero_elsewhere():
    weight, mask = sparse((4, 3, 3, 3), 0.3)
    formula = Masked(mask)
    formula.fit(weight)
    assert torch.equal(formula(), torch.where(mask, weight, torch.zeros(())))


def test_only_kept_weights_get_a_gradient():
    formula = masked((5, 7), 0.4)
    formula().sum().backward()
    assert torch.equal(formula.values.grad, formula.mask.float())


def test_gradient_reaches_nested_values():
    formula = masked((8, 8), 0.5, Codebook(bits=1))
    formula().sum().backward()
    members = torch.bincount(formula.values.index.int(), minlength=2).float()
    assert torch.equal(formula.values.values.grad, members)


@pytest.mark.parametrize("values", [None, Codebook(bits=4)], ids=["plain", "codebook"])
@pytest.mark.parametrize("density", [0.0, 0.003, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (61, 67)], ids=str)
def test_onnxruntime_computes_the_same_weight(shape, density, values):
    formula = masked(shape, density, values)
    assert np.array_equal(computed(formula), formula().detach().numpy())


@pytest.mark.parametrize("density", [0.05, 0.5], ids=["gaps", "bits"])
@pytest.mark.parametrize("values", [None, Codebook(bits=4)], ids=["plain", "codebook"])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (64, 128)], ids=["conv", "linear"])
def test_loading_folds_it_to_a_plain_operator(shape, density, values, tmp_path):
    formula = masked(shape, density, values)
    operators, constants = folded(formula, tmp_path)
    assert operators in (["Conv"], ["Gemm"])
    assert any(c.shape == shape and np.array_equal(c, formula().detach().numpy()) for c in constants)


def test_half_of_a_weight_takes_half_its_bits_and_one_a_position():
    formula = masked((16, 16, 3, 3), 0.5)
    kept = int(formula.mask.sum())
    assert sum(s.total_bits for s in formula.stored()) == 32 * kept + 16 * 16 * 9


def test_few_weights_take_a_byte_of_gap_each():
    formula = masked((64, 64), 0.08)
    kept = int(formula.mask.sum())
    assert sum(s.total_bits for s in formula.stored()) == (32 + 8) * kept


def test_nested_values_count_their_own_bits():
    formula = masked((16, 16, 3, 3), 0.5, Codebook(bits=3))
    kept = int(formula.mask.sum())
    assert sum(s.total_bits for s in formula.stored()) == 3 * kept + 8 * 32 + 16 * 16 * 9


@pytest.mark.parametrize("places", [[0], [255], [256], [511], [512, 1023], [0, 1, 2, 600, 1023], []], ids=str)
def test_gaps_lead_back_to_the_positions_and_none_is_wider_than_a_byte(places):
    mask = np.zeros(1024, bool)
    mask[places] = True
    gaps, is_filler = gaps_of(mask)
    assert gaps.dtype == np.uint8
    reached = np.cumsum(gaps.astype(int))
    assert reached[~is_filler].tolist() == places
    assert len(set(reached.tolist())) == len(reached)


@pytest.mark.parametrize("density, expected", [(0.5, False), (0.13, False), (0.1, True), (0.001, True)])
def test_gaps_are_for_fewer_than_one_weight_in_eight(density, expected):
    _, mask = sparse((256, 256), density)
    assert prefers_gaps(mask.numpy()) is expected


@pytest.mark.parametrize("density, most", [(0.05, 0.07), (0.1, 0.14), (0.5, 0.54)])
def test_the_file_shrinks_as_the_count_of_bits_says(density, most):
    formula = masked((256, 256), density)
    out = Emitter()
    formula.emit(out, "w")
    written = sum(i.ByteSize() for i in out.initializers) + sum(n.ByteSize() for n in out.nodes)
    assert written < most * 4 * formula.mask.numel()


def test_a_small_weight_is_written_dense_since_the_operators_would_outweigh_the_gain():
    out = Emitter()
    masked((4, 4), 0.5).emit(out, "w")
    assert not out.nodes
    assert [i.name for i in out.initializers] == ["w"]


def test_a_huge_weight_that_is_not_sparse_enough_is_written_dense_and_says_so(monkeypatch):
    monkeypatch.setattr("core.formulas.masked.BITS_LIMIT", 1000)
    out = Emitter()
    masked((64, 64), 0.5).emit(out, "w")
    assert not out.nodes
    assert "written dense" in out.notes[0]


@pytest.mark.parametrize("axis, keep", [(0, [3, 0]), (1, [5, 2, 1]), (2, [0])])
@pytest.mark.parametrize("values", [None, Codebook(bits=2)], ids=["plain", "codebook"])
def test_selecting_then_computing_is_computing_then_indexing(axis, keep, values):
    formula = masked((4, 6, 3, 3), 0.4, values)
    expected = formula().detach().index_select(axis, torch.tensor(keep))
    formula.select(axis, torch.tensor(keep))
    assert torch.equal(formula(), expected)
