import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.splits import calibration, split
from modelpress.data import Range, Splits
from modelpress.problem import DataError

ALL = ("train", "select", "test")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 5))
def test_every_sample_has_one_role_and_every_class_its_share(labels, seed):
    labels = np.array(labels)
    roles = split(len(labels), labels, Splits(), seed, ALL)
    assert sorted(np.concatenate(list(roles.values())).tolist()) == list(range(len(labels)))
    for label in range(5):
        for role, fraction in (("train", 0.6), ("select", 0.2), ("test", 0.2)):
            own = (labels[roles[role]] == label).sum()
            assert abs(own - fraction * (labels == label).sum()) < 2.5


def test_equal_seeds_split_equally_and_others_do_not():
    first, again, other = (split(100, None, Splits(), seed, ALL)["test"].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_fractions_that_leave_something_out_leave_it_out():
    roles = split(100, None, Splits(train=0.5, select=0.1, test=0.1), 0, ALL)
    assert [len(roles[name]) for name in ALL] == [50, 10, 10]


def test_an_evaluation_set_is_cut_in_the_ratio_of_its_fractions():
    roles = split(100, None, Splits(train=0.6, select=0.1, test=0.3), 0, ("select", "test"))
    assert [len(roles[name]) for name in ("select", "test")] == [25, 75]


def test_ranges_are_taken_as_declared():
    splits = Splits(train=Range(start=10, stop=20), select=Range(start=0, stop=5), test=Range(start=5, stop=10))
    roles = split(20, None, splits, 0, ALL)
    assert roles["train"].tolist() == list(range(10, 20))
    assert roles["select"].tolist() == list(range(5))


@pytest.mark.parametrize("test", [Range(start=4, stop=5), Range(start=10, stop=99)])
def test_ranges_that_overlap_or_end_beyond_are_refused(test):
    splits = Splits(train=Range(start=0, stop=5), select=Range(start=5, stop=6), test=test)
    with pytest.raises(DataError, match="test"):
        split(20, None, splits, 0, ALL)


def test_calibration_is_part_of_train():
    train = np.arange(0, 100, 2)
    part = calibration(train, 10, 0)
    assert len(part) == 10
    assert set(part) <= set(train)
    assert calibration(train, 1000, 0) is train
