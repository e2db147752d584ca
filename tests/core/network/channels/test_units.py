"""Sizes of what remains of a block, and runs of axes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.network.channels.axis_runs import runs
from core.network.channels.carriers import Carrier, trimmed
from core.network.channels.units import Balance, _parts, remaining_sizes


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.data())
def test_a_block_that_loses_whole_rows_or_equally_many_of_each_keeps_its_shape(
    rows: int, columns: int, left: int, data: st.DataObject
) -> None:
    left = min(left, columns)
    kept = np.zeros((rows, columns), dtype=bool)
    whole = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, unique=True))
    for row in whole:
        kept[row, data.draw(st.permutations(range(columns)))[:left]] = True
    assert remaining_sizes(kept) == [len(whole), left]


def test_of_an_axis_alone_what_is_kept_is_counted() -> None:
    assert remaining_sizes(np.array([True, False, True])) == [2]
    assert remaining_sizes(np.zeros((2, 3), dtype=bool)) == [0, 0]


def test_runs_are_the_shortest_with_equal_products() -> None:
    assert runs((2, 3, 4, 5), (6, 20)) == [([0, 1], [0]), ([2, 3], [1])]
    assert runs((2, 12, 7), (2, 3, 4, 7)) == [([0], [0]), ([1], [1, 2]), ([2], [3])]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_runs_cover_every_axis_once_and_agree_in_size(shape: list[int], data: st.DataObject) -> None:
    total = int(np.prod(shape))
    first = data.draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
    other = [first, total // first]
    found = runs(shape, other)
    assert [axis for old, _ in found for axis in old] == list(range(len(shape)))
    assert [axis for _, new in found for axis in new] == [0, 1]
    for old, new in found:
        assert np.prod([shape[a] for a in old]) == np.prod([other[a] for a in new])


def test_axes_along_which_nothing_varies_are_left_out() -> None:
    ids = np.array([[1, 2, 3], [1, 2, 3]])
    assert trimmed(Carrier((4, 7), ids)).axes == (7,)
    assert trimmed(Carrier((4, 7), ids.T)).axes == (4,)
    assert trimmed(Carrier((4, 7), np.array([[1, 2], [3, 4]]))).axes == (4, 7)


def test_a_unit_is_in_the_finest_part_that_its_balances_leave() -> None:
    halves, quarters = np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), np.array([[2, 3], [0, 1]])
    parts = _parts([Balance(quarters), Balance(halves)], 9)
    together = {frozenset(np.flatnonzero(parts == part).tolist()) for part in parts}
    assert together == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4, 5, 6, 7}), frozenset({8})}
