import numpy as np
import pytest
from scipy.stats import binomtest

from core.measure.figures import mean, resampled_means, share


@pytest.mark.parametrize("hits, count", [(0, 10), (8, 10), (10, 10), (917, 1000)])
def test_shares_have_wilsons_interval(hits, count):
    figure = share("top1", np.arange(count) < hits)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert figure.value == hits / count
    assert (figure.low, figure.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_share_of_nothing_is_not_guessed():
    assert share("top1", np.array([], bool)).value is None


def test_means_have_the_normal_interval():
    figure = mean("mae", np.array([1.0, 2.0, 3.0, 4.0]), "")
    assert figure.value == 2.5
    assert figure.high - figure.value == pytest.approx(1.96 * np.std([1, 2, 3, 4], ddof=1) / 2, rel=1e-4)


def test_one_sample_has_no_interval():
    assert mean("mae", np.array([3.0]), "").low is None


def test_resampling_does_not_depend_on_how_it_is_cut_up():
    columns = np.random.default_rng(0).normal([3, -1], size=(50, 2))
    draws = resampled_means(columns)
    assert draws.shape == (400, 2)
    np.testing.assert_allclose(draws.mean(axis=0), columns.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(draws.std(axis=0), columns.std(axis=0) / np.sqrt(50), rtol=0.2)
