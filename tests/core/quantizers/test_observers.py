import numpy as np
import pytest
import torch

from core.quantizers.observers import Entropy, Histogram, MinMax, Percentile, Range


def normal(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def test_minmax_keeps_the_whole_range_of_all_batches():
    observer = MinMax()
    for batch in (torch.tensor([1.0, 2.0]), torch.tensor([[-3.0]]), torch.tensor([0.5])):
        observer.observe(batch)
    assert observer.range() == Range(-3.0, 2.0)


@pytest.mark.parametrize("observer", [MinMax(), Percentile(99.0), Entropy()], ids=lambda o: type(o).__name__)
def test_without_data_there_is_no_range(observer):
    observer.observe(torch.zeros(0))
    assert observer.range() is None


def test_a_histogram_counts_what_numpy_counts():
    histogram = Histogram(64)
    values = normal(1000)
    histogram.observe(values)
    expected, _ = np.histogram(values.double().numpy(), histogram.edges().numpy())
    assert histogram.counts.tolist() == expected.tolist()


@pytest.mark.parametrize("second", [[9.0], [-9.0], [-40.0, 40.0], [0.01]], ids=str)
def test_growing_loses_no_value_and_misplaces_none(second):
    histogram = Histogram(64)
    first = normal(500)
    for batch in (first, torch.tensor(second)):
        histogram.observe(batch)
    both = torch.cat([first, torch.tensor(second)]).double().numpy()
    expected, _ = np.histogram(both, histogram.edges().numpy())
    assert histogram.counts.tolist() == expected.tolist()
    assert histogram.counts.sum() == len(both)


def test_memory_stays_fixed_however_far_the_values_reach():
    histogram = Histogram(64)
    for power in range(-20, 20):
        histogram.observe(torch.tensor([10.0**power, -(10.0**power)]))
    assert histogram.counts.shape == (64,)
    assert histogram.counts.sum() == 80


def test_a_quarter_of_the_bins_stays_in_use():
    histogram = Histogram(64)
    for factor in (1.0, 1.7, 3.1, 40.0):
        histogram.observe(factor * torch.linspace(-1, 1, 500))
        assert torch.count_nonzero(histogram.counts) >= 16


def test_a_first_batch_of_one_value_does_not_spoil_the_next():
    histogram = Percentile(50.5)
    histogram.observe(torch.zeros(10))
    histogram.observe(torch.linspace(0, 8, 9990))
    assert histogram.range().high == pytest.approx(8 * 0.505, rel=0.01)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        Histogram().observe(torch.tensor([1.0, float("inf")]))


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
def test_the_percentile_range_holds_the_share_asked(percent):
    observer, values = Percentile(percent), normal(100_000)
    for batch in values.split(10_000):
        observer.observe(batch)
    low, high = observer.range()
    inside = ((values >= low) & (values <= high)).double().mean()
    assert inside == pytest.approx(percent / 100, abs=2e-4)


def test_one_sided_values_are_cut_at_their_far_end_only():
    observer, values = Percentile(99.0), normal(100_000).relu()
    observer.observe(values)
    low, high = observer.range()
    assert low == 0.0
    assert (values <= high).double().mean() == pytest.approx(0.99, abs=2e-4)


def test_hundred_percent_is_the_whole_range():
    observer, values = Percentile(100.0), normal(1000)
    observer.observe(values)
    assert observer.range() == Range(float(values.min()), float(values.max()))


def test_entropy_keeps_all_of_evenly_spread_values():
    observer = Entropy()
    observer.observe(torch.linspace(0, 1, 100_000))
    assert observer.range().high == pytest.approx(1.0, rel=0.01)


def test_entropy_cuts_a_lone_far_value_off():
    observer = Entropy()
    observer.observe(torch.cat([normal(100_000).abs(), torch.tensor([100.0])]))
    low, high = observer.range()
    assert low == pytest.approx(0.0, abs=1e-4)
    assert 2.0 < high < 10.0


def test_the_zeros_of_a_relu_do_not_narrow_the_entropy_range():
    positive, spike = Entropy(), Entropy()
    values = normal(100_000)
    positive.observe(values.abs())
    spike.observe(torch.cat([values.abs(), torch.zeros(300_000)]))
    assert spike.range().high == pytest.approx(positive.range().high, rel=0.1)


def test_entropy_keeps_all_of_few_values_far_apart():
    observer = Entropy()
    observer.observe(torch.tensor([0.0, 0.0, 0.5, 1.0]).repeat(1000))
    assert observer.range() == Range(0.0, 1.0)


def test_entropy_cuts_both_ends_of_two_sided_values():
    observer = Entropy()
    observer.observe(torch.cat([normal(100_000), torch.tensor([-100.0, 100.0])]))
    low, high = observer.range()
    assert 2.0 < high < 10.0
    assert low == pytest.approx(-high)
