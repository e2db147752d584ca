"""Convolutions with computed weights against onnxruntime."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from core.network.channels import analyse
from core.network.ops.computed_conv import convolve, convolve_transposed
from core.network.ops.windows import SAME
from tests.core.network.agreement import assert_agrees, native
from tests.core.network.invariants import locked_because
from tests.core.network.models import model_of, random

quickly = settings(max_examples=40, deadline=None, derandomize=True)
X = (2, 4, 9, 8)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    two = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    window: dict[str, Any] = {"kernel_shape": draw(two), "strides": draw(two)}
    if draw(st.booleans()):
        return {**window, "auto_pad": draw(st.sampled_from(SAME))}
    return {**window, "dilations": draw(two), "pads": draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))}


@quickly
@given(window=windows(), groups=st.sampled_from([1, 2, 4]), biased=st.booleans(), free=st.booleans())
def test_convolutions(window: dict[str, Any], groups: int, biased: bool, free: bool):
    inputs = {"x": random(*X), "w": random(4, 4 // groups, *window["kernel_shape"], seed=1)}
    inputs |= {"b": random(4, seed=2)} if biased else {}
    shapes: dict[str, Any] = {name: value.shape for name, value in inputs.items()}
    if free:
        shapes |= {"x": ["n", "c", "h", "w"], "w": ["o", "i", "k", "l"]}
    node = helper.make_node("Conv", list(inputs), ["y"], group=groups, **window)
    assert_agrees(model_of([node], shapes), inputs)


@quickly
@given(window=windows(), groups=st.sampled_from([1, 2]), biased=st.booleans(), extra=st.booleans())
def test_transposed_convolutions(window: dict[str, Any], groups: int, biased: bool, extra: bool):
    if "auto_pad" in window:
        window = {**window, "kernel_shape": [k + 2 for k in window["kernel_shape"]]}
    behind = [stride - 1 if extra else 0 for stride in window["strides"]]
    inputs = {"x": random(*X), "w": random(4, 3, *window["kernel_shape"], seed=1)}
    inputs |= {"b": random(3 * groups, seed=2)} if biased else {}
    shapes = {name: value.shape for name, value in inputs.items()}
    node = helper.make_node("ConvTranspose", list(inputs), ["y"], group=groups, output_padding=behind, **window)
    assert_agrees(model_of([node], shapes), inputs)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_bias_alone_may_be_computed(op: str):
    inputs = {"x": random(*X), "b": random(4, seed=2)}
    node = helper.make_node(op, ["x", "w", "b"], ["y"])
    shapes = {name: value.shape for name, value in inputs.items()}
    assert_agrees(model_of([node], shapes, constants={"w": random(4, 4, 3, 3)}), inputs)


def test_gradients_reach_the_weights():
    x, w, b = (torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((1, 2, 5), (2, 2, 2), (2,)))
    literals: dict[str, Any] = {"strides": [2], "padding": [1], "dilations": [1], "groups": 1}
    assert torch.autograd.gradcheck(lambda *of: convolve(*of, **literals), (x, w, b))
    assert torch.autograd.gradcheck(lambda *of: convolve_transposed(*of, **literals, extra=[1]), (x, w, b))


def test_channels_are_locked_that_computed_weights_read_or_make():
    """A template of the image that is searched for in the image."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["mean"]),
        helper.make_node("Conv", ["a", "mean"], ["found"]),
        helper.make_node("Conv", ["found", "w2"], ["y"]),
    ]
    constants = {"w1": random(6, 4, 3, 3), "w2": random(3, 1, 1, 1)}
    channels = analyse(native(model_of(nodes, {"x": [1, 4, 6, 6]}, constants=constants)))
    assert "found gives no way to cut it" in locked_because(channels)
    assert not len(channels.prunable())
