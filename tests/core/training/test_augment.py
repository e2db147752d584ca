"""Augmented lessons: images move, the original answers for what moved, and a resumed pass sees the same."""

import numpy as np
import pytest
import torch

from core.training.augment import augmented, moved
from core.training.lessons import Lessons
from tests.core.techniques.contexts import samples_of


def ramp(count: int = 64) -> torch.Tensor:
    """Images (count, 1, 16, 16) whose pixels tell their own row and column."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    return (100 * rows + columns).expand(count, 1, 16, 16).contiguous()


def test_a_shift_moves_by_at_most_an_eighth_and_repeats_the_border() -> None:
    found = moved(ramp(), torch.Generator().manual_seed(0), flip=False)
    down = (found[:, 0, 8, 8] // 100 - 8).long()
    right = (found[:, 0, 8, 8] % 100 - 8).long()
    assert set(down.tolist()) == set(right.tolist()) == {-2, -1, 0, 1, 2}
    for image, dy, dx in zip(found[:, 0], down.tolist(), right.tolist(), strict=True):
        rows, columns = (np.arange(16) + shift for shift in (dy, dx))
        expected = 100 * rows.clip(0, 15)[:, None] + columns.clip(0, 15)[None]
        assert image.tolist() == expected.tolist()


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    found = moved(ramp(200), torch.Generator().manual_seed(0), flip=True)
    mirrored = found[:, 0, 8, 7] > found[:, 0, 8, 8]
    assert 60 < int(mirrored.sum()) < 140


def test_what_is_no_image_stays() -> None:
    x, ids = torch.rand(3, 5), torch.zeros(3, 1, 8, 8, dtype=torch.int64)
    found = augmented((x, ids), "shift_and_flip", torch.Generator().manual_seed(0))
    assert found[0] is x
    assert found[1] is ids


@pytest.mark.parametrize("most_bytes", [None, 0])
def test_the_original_answers_for_the_moved_image_and_a_resumed_pass_sees_the_same(most_bytes: int | None) -> None:
    samples = samples_of({"x": ramp().numpy()})
    lessons = Lessons(
        samples,
        lambda inputs: [inputs["x"]],
        lambda x: (x.sum((1, 2, 3)),),
        torch.device("cpu"),
        most_bytes,
        augmentation="shift",
    )
    whole = list(lessons.shuffled(16, torch.Generator().manual_seed(7)))
    assert len(whole) == 4
    assert any(not torch.equal(lesson.inputs[0], ramp(16)) for lesson in whole)
    for lesson in whole:
        torch.testing.assert_close(lesson.wanted[0], lesson.inputs[0].sum((1, 2, 3)))
    resumed = list(lessons.shuffled(16, torch.Generator().manual_seed(7), start=2))
    assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(whole[2:], resumed, strict=True))
