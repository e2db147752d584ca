"""GridSample and AffineGrid against onnxruntime."""

import numpy as np
import pytest
from onnx import helper

from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random

CASES = [
    (opset, mode, padding, align)
    for opset, modes in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic")))
    for mode in modes
    for padding in ("zeros", "border", "reflection")
    for align in (0, 1)
]


@pytest.mark.parametrize(("opset", "mode", "padding", "align"), CASES)
def test_images_are_read_at_a_grid(opset: int, mode: str, padding: str, align: int):
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=align)
    inputs = {"x": random(2, 3, 5, 6), "grid": 0.8 * random(2, 4, 7, 2, seed=1)}
    assert_agrees(model_of([node], {name: x.shape for name, x in inputs.items()}, opset=opset), inputs, 1e-4)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_volumes_are_read_at_a_grid(mode: str):
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode)
    inputs = {"x": random(1, 2, 3, 4, 5), "grid": 0.8 * random(1, 2, 4, 3, 3, seed=1)}
    assert_agrees(model_of([node], {name: x.shape for name, x in inputs.items()}, opset=20), inputs, 1e-4)


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 4, 2)])
@pytest.mark.parametrize("align", [0, 1])
def test_affine_grids(align: int, size: tuple[int, ...]):
    axes = len(size) - 2
    node = helper.make_node("AffineGrid", ["x", "size"], ["y"], align_corners=align)
    inputs = {"x": random(2, axes, axes + 1)}
    assert_agrees(model_of([node], {"x": inputs["x"].shape}, constants={"size": np.array(size)}, opset=20), inputs)
