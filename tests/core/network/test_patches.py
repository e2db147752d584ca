"""Col2Im and CenterCropPad against onnxruntime, and their channels."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from core.network.channels import analyse
from core.network.network import Network
from core.network.ops.patches import col2im
from tests.core.network.agreement import assert_agrees
from tests.core.network.invariants import (
    Subject,
    check_locked_shows,
    check_neighbours_show,
    check_removal,
    locked_because,
    shares,
)
from tests.core.network.models import model_of, random

quickly = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def foldings(draw: st.DrawFn) -> dict[str, list[int]]:
    """With dilations over two axes alone: over others onnxruntime does not do as the standard says."""
    block = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    gap = 2 if len(block) == 2 else 1
    return {
        "block": block,
        "image": [draw(st.integers(3, 6)) for _ in block],
        "strides": [draw(st.integers(1, 2)) for _ in block],
        "dilations": [draw(st.integers(1, gap)) for _ in block],
        "pads": [draw(st.integers(0, 2)) for _ in [*block, *block]],
    }


def patches(image: list[int], block: list[int], strides: list[int], dilations: list[int], pads: list[int]) -> int:
    counts = []
    for axis, size in enumerate(image):
        padded = size + pads[axis] + pads[axis + len(image)]
        counts.append((padded - (block[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1)
    return math.prod(counts) if min(counts) > 0 else 0


@quickly
@given(literals=foldings(), is_constant=st.booleans(), seed=st.integers(0, 1000))
def test_patches_add_up_to_images(literals: dict[str, list[int]], is_constant: bool, seed: int):
    count = patches(**literals)
    assume(count)
    x = random(2, 3 * math.prod(literals["block"]), count, seed=seed)
    attributes: dict[str, Any] = {name: literals[name] for name in ("strides", "dilations", "pads")}
    node = helper.make_node("Col2Im", ["x", "s", "b"], ["y"], **attributes)
    sizes = {"s": np.array(literals["image"])}
    constants = {"b": np.array(literals["block"])} | (sizes if is_constant else {})
    inputs = {"x": x} | ({} if is_constant else sizes)
    shapes = {name: value.shape for name, value in inputs.items()}
    assert_agrees(model_of([node], shapes, constants=constants, opset=18, types={"s": TensorProto.INT64}), inputs)


def test_gradients_reach_every_patch():
    literals = {"image": [4, 3], "block": [2, 2], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 1, 0, 0]}
    x = torch.from_numpy(random(1, 8, patches(**literals))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: col2im(x, **literals), x)


@quickly
@given(
    axes=st.sampled_from([None, [0, 1, 2], [-1], [1, -1], [2, 0]]),
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    is_constant=st.booleans(),
)
def test_crops_and_pads_around_the_middle(axes: list[int] | None, sizes: list[int], is_constant: bool):
    given = {"s": np.array(sizes[: 3 if axes is None else len(axes)])}
    attributes: dict[str, Any] = {} if axes is None else {"axes": axes}
    node = helper.make_node("CenterCropPad", ["x", "s"], ["y"], **attributes)
    inputs = {"x": random(4, 5, 6)} | ({} if is_constant else given)
    shapes = {name: value.shape for name, value in inputs.items()}
    constants = given if is_constant else {}
    assert_agrees(model_of([node], shapes, constants=constants, opset=18, types={"s": TensorProto.INT64}), inputs)


def folding() -> ModelProto:
    """As an overlapping tokeniser's inverse: tokens to patches by a matrix, added up, and a convolution."""
    constants = {"v": random(3, 20), "w": random(2, 5, 3, 3, seed=1), "s": np.array([5, 4]), "b": np.array([2, 2])}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["t"]),
        helper.make_node("Transpose", ["t"], ["p"], perm=[0, 2, 1]),
        helper.make_node("Col2Im", ["p", "s", "b"], ["i"]),
        helper.make_node("Conv", ["i", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": (2, 12, 3)}, constants=constants, opset=18)


def cropping(*sizes: int, axes: list[int]) -> ModelProto:
    constants = {"v": random(6, 3, 3, 3), "w": random(2, sizes[0], 1, 1, seed=1), "s": np.array(sizes)}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"]),
        helper.make_node("CenterCropPad", ["a", "s"], ["c"], axes=axes),
        helper.make_node("Conv", ["c", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": (2, 3, 7, 7)}, constants=constants, opset=18)


IMAGES = {"x": random(2, 3, 7, 7)}


@pytest.mark.parametrize(
    ("model", "example", "width"),
    [(folding(), {"x": random(2, 12, 3)}, 4), (cropping(6, 3, 8, axes=[1, 2, 3]), IMAGES, 1)],
)
@pytest.mark.parametrize("seed", range(3))
def test_channels_pass(model: ModelProto, example: dict[str, np.ndarray], width: int, seed: int):
    subject = Subject(model, example)
    channels = analyse(Network.from_proto(model))
    assert sorted(shares(channels).values()) == [0.0, 1.0]
    assert [group.width for group in channels.groups] == [width]
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


def test_channels_that_are_cropped_stay():
    model = cropping(4, axes=[1])
    assert locked_because(analyse(Network.from_proto(model)))["c pads or crops it"] == {"Conv_0"}
    check_locked_shows(Subject(model, IMAGES), 0)
