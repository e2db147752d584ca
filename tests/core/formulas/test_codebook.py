import numpy as np
import pytest
import torch

from core.formulas import Codebook, Emitter
from core.formulas.kmeans import kmeans_1d
from tests.core.formulas.loaded import computed, folded


def fitted(shape: tuple[int, ...], bits: int) -> Codebook:
    formula = Codebook(bits)
    formula.fit(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return formula


def test_kmeans_finds_groups_that_lie_apart():
    numbers = np.array([9.0, -1.0, 1.0, 11.0, 10.0, 0.0])
    centroids, index = kmeans_1d(numbers, 2, 10)
    assert centroids.tolist() == [0.0, 10.0]
    assert index.tolist() == [1, 0, 0, 1, 1, 0]


def test_the_first_round_starts_from_centroids_spread_evenly():
    centroids, _ = kmeans_1d(np.array([0.0, 1.0, 3.9, 8.0]), 3, 1)  # from 0, 4, 8
    assert centroids.tolist() == [0.5, np.float32(3.9), 8.0]


def test_no_number_is_nearer_to_another_centroid():
    numbers = np.random.default_rng(0).standard_normal(5000)
    centroids, index = kmeans_1d(numbers, 16, 100)
    assert np.array_equal(index, np.abs(numbers[:, None] - centroids[None]).argmin(1))


def test_no_centroid_is_wasted_on_a_gap():
    numbers = np.concatenate([np.linspace(-1.0, -0.7, 200), np.linspace(0.7, 1.0, 200)])
    centroids, index = kmeans_1d(numbers, 16, 100)
    assert np.unique(index).tolist() == list(range(16))
    assert np.abs(centroids[index] - numbers).max() < 0.04  # sixteen intervals share a length of 0.6


def test_each_centroid_is_the_mean_of_its_numbers_when_nothing_moves_any_more():
    numbers = np.random.default_rng(0).standard_normal(500)
    centroids, index = kmeans_1d(numbers, 4, 1000)
    means = [numbers[index == k].mean() for k in range(4)]
    assert np.allclose(centroids, means, rtol=1e-6)


@pytest.mark.parametrize("numbers", [[2.0], [1.0, 1.0, 1.0], [3.0, -1.0, 3.0]], ids=str)
def test_few_different_numbers_are_kept_exactly(numbers):
    centroids, index = kmeans_1d(np.array(numbers), 16, 10)
    assert centroids[index].tolist() == numbers


@pytest.mark.parametrize("k", [0, 257])
def test_counts_of_centroids_that_no_byte_can_tell_apart_are_refused(k):
    with pytest.raises(ValueError, match="1 to 256"):
        kmeans_1d(np.zeros(3), k, 1)


def test_a_shared_value_gets_the_sum_of_its_members_gradients():
    formula = fitted((6, 4, 3, 3), bits=2)
    gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    formula().backward(gradient)
    expected = [gradient[formula.index == k].sum() for k in range(formula.values.numel())]
    assert torch.allclose(formula.values.grad, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (61, 67)], ids=str)
def test_onnxruntime_computes_the_same_weight(shape, bits):
    formula = fitted(shape, bits)
    assert np.array_equal(computed(formula), formula().detach().numpy())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (64, 128)], ids=["conv", "linear"])
def test_loading_folds_it_to_a_plain_operator(shape, bits, tmp_path):
    formula = fitted(shape, bits)
    operators, constants = folded(formula, tmp_path)
    assert operators in (["Conv"], ["Gemm"])
    assert any(c.shape == shape and np.array_equal(c, formula().detach().numpy()) for c in constants)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_a_weight_takes_the_bits_of_an_index_each_and_the_table(bits):
    formula = fitted((32, 16, 3, 3), bits)
    table = formula.values.numel()  # no longer than 2**bits, and not so short that an index could be narrower
    assert sum(s.total_bits for s in formula.stored()) == bits * 32 * 16 * 9 + 32 * table


@pytest.mark.parametrize("bits, least", [(4, 7.8), (8, 3.9)])
def test_the_file_shrinks_by_the_width_of_an_index(bits, least):
    formula = fitted((256, 512), bits)
    out = Emitter()
    formula.emit(out, "w")
    written = sum(i.ByteSize() for i in out.initializers) + sum(n.ByteSize() for n in out.nodes)
    assert 4 * 256 * 512 / written > least


def test_half_bytes_need_the_opset_and_file_version_that_know_them():
    out = Emitter()
    fitted((32, 64), 4).emit(out, "w")
    assert (out.min_opset, out.min_ir) == (21, 10)


def test_bytes_need_no_new_opset():
    out = Emitter()
    fitted((64, 64), 8).emit(out, "w")
    assert out.min_opset == 13


@pytest.mark.parametrize("axis, keep", [(0, [3, 0]), (1, [2]), (3, [1, 2])])
def test_selecting_then_computing_is_computing_then_indexing(axis, keep):
    formula = fitted((4, 6, 3, 3), bits=3)
    expected = formula().detach().index_select(axis, torch.tensor(keep))
    formula.select(axis, torch.tensor(keep))
    assert torch.equal(formula(), expected)
