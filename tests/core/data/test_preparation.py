import numpy as np
import pytest
from PIL import Image

from core.data.preparation import prepare
from modelpress.data import Preparation
from modelpress.problem import DataMismatch

F4 = np.dtype(np.float32)


def test_scale_mean_std_layout_and_cast_in_this_order():
    batch = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    how = Preparation(layout="hwc_to_chw", scale=1 / 255, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    expected = ((batch / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(0, 3, 1, 2)
    found = prepare(batch, how, F4)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_raw_values_are_left_as_they_are():
    batch = np.ones((2, 3), np.float32)
    prepare(batch, Preparation(scale=2.0, mean=[1.0]), F4)
    assert (batch == 1).all()


@pytest.mark.parametrize(
    "layout, shape, expected",
    [
        ("as_is", (3, 5), (3, 5)),
        ("hw_to_chw", (4, 5), (1, 4, 5)),
        ("hwc_to_chw", (4, 5, 3), (3, 4, 5)),
        ("hwc_to_chw", (4, 5), (1, 4, 5)),
        ("chw_to_hwc", (3, 4, 5), (4, 5, 3)),
    ],
)
def test_layouts(layout, shape, expected):
    assert prepare(np.zeros((2, *shape), np.uint8), Preparation(layout=layout), F4).shape == (2, *expected)


@pytest.mark.parametrize("axis, shape", [(1, (2, 5, 5)), (2, (5, 5, 2))])
def test_as_is_the_channels_are_the_axis_whose_size_fits(axis, shape):
    found = prepare(np.zeros((1, *shape), np.float32), Preparation(mean=[1.0, 2.0]), F4)
    np.testing.assert_array_equal(np.moveaxis(found[0], 0 if axis == 1 else 2, 0)[:, 0, 0], [-1, -2])


def test_a_mean_of_another_length_is_refused():
    with pytest.raises(DataMismatch, match="3 values of mean"):
        prepare(np.zeros((1, 4, 4), np.uint8), Preparation(mean=[1.0, 2.0, 3.0]), F4)


@pytest.mark.parametrize("size", [(4, 4), (20, 14)])
def test_resizing_is_pillows(size):
    batch = np.random.default_rng(0).integers(0, 256, (2, 10, 8, 3)).astype(np.uint8)
    found = prepare(batch, Preparation(resize=size), np.dtype(np.uint8))
    for image, ours in zip(batch, found, strict=True):
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        assert np.abs(ours.astype(int) - theirs).max() <= 1  # Pillow rounds after each axis


def test_grey_images_are_resized_too():
    assert prepare(np.zeros((2, 8, 8), np.uint8), Preparation(resize=(4, 6), layout="hw_to_chw"), F4).shape == (
        2,
        1,
        4,
        6,
    )
