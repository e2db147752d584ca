"""Deformable convolutions against onnxruntime, and their channels."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from core.network.channels import analyse
from core.network.network import Network
from core.network.ops.deform_conv import DeformConv, Options
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch
from tests.core.network.invariants import Subject, check_neighbours_show, check_removal, locked_because, shares
from tests.core.network.models import model_of, random, run_onnx

SIZE = [7, 6]


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    kernel = [draw(st.integers(1, 3)) for _ in SIZE]
    return {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 2)) for _ in SIZE],
        "dilations": [draw(st.integers(1, 2)) for _ in SIZE],
        "pads": [draw(st.integers(0, 2)) for _ in range(4)],
        "group": draw(st.sampled_from([1, 2, 4])),
        "offset_group": draw(st.sampled_from([1, 2])),
    }


@settings(max_examples=40, deadline=None, derandomize=True)
@given(literals=convolutions(), is_masked=st.booleans(), has_bias=st.booleans(), seed=st.integers(0, 1000))
def test_deformable_convolutions(literals: dict[str, Any], is_masked: bool, has_bias: bool, seed: int):
    """Places that are read lie within the image and beyond."""
    kernel, pads = literals["kernel_shape"], literals["pads"]
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, literals["dilations"], strict=True)]
    padded = [size + pads[axis] + pads[axis + 2] for axis, size in enumerate(SIZE)]
    places = [(a - b) // step + 1 for a, b, step in zip(padded, reach, literals["strides"], strict=True)]
    moved = literals["offset_group"] * kernel[0] * kernel[1]
    names = ["x", "w", "o", "b" if has_bias else "", "m" if is_masked else ""]
    constants = {"w": random(4, 4 // literals["group"], *kernel, seed=seed)} | ({"b": random(4)} if has_bias else {})
    inputs = {"x": random(2, 4, *SIZE, seed=seed), "o": 2 * random(2, 2 * moved, *places, seed=seed + 1)}
    if is_masked:
        inputs["m"] = random(2, moved, *places, seed=seed + 2)
    node = helper.make_node("DeformConv", names, ["y"], **literals)
    model = model_of([node], {name: x.shape for name, x in inputs.items()}, constants=constants, opset=19)
    assert_agrees(model, inputs)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_reach_image_places_and_mask(groups: int):
    literals = {"stride": (1, 1), "padding": (1, 0), "dilation": (1, 1), "groups": groups, "bias": True}
    layer = DeformConv(4, 2, (2, 3), Options(2, (0, 1)), **literals).double()
    shapes = [(2, 4, 4, 5), (2, 24, 4, 4), (2, 12, 4, 4)]
    values = [torch.from_numpy(random(*shape, seed=k)).double().requires_grad_() for k, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(layer, values)


def test_a_place_that_is_no_number_makes_no_number_of_what_reads_it_alone():
    literals = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": False}
    layer = DeformConv(1, 1, (1, 1), Options(1, (0, 0)), **literals)
    offset = torch.zeros(1, 2, 2, 3)
    offset[0, 1, 0, 2] = torch.nan
    y = layer(torch.ones(1, 1, 2, 3), offset)
    assert y.isnan().reshape(-1).tolist() == [False, False, True, False, False, False]


def deforming(groups: int = 1, parts: int = 1) -> ModelProto:
    """A convolution, one that says where to read it, one that weighs what is read, the deformable one, a last one."""
    shapes = {
        "v": (16, 3, 3, 3),
        "o": (18 * parts, 3, 3, 3),
        "m": (9 * parts, 3, 3, 3),
        "w": (16, 16 // groups, 3, 3),
        "b": (16,),
        "h": (5, 16, 1, 1),
    }
    constants = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}
    nodes = [
        *(
            helper.make_node("Conv", ["x", weight], [made], pads=[1] * 4)
            for weight, made in (("v", "a"), ("o", "p"), ("m", "q"))
        ),
        helper.make_node(
            "DeformConv", ["a", "w", "p", "b", "q"], ["c"], pads=[1] * 4, group=groups, offset_group=parts
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "h"], ["y"]),
    ]
    return model_of(nodes, {"x": ("n", 3, 6, 7)}, constants=constants, opset=19)


@pytest.mark.parametrize(("groups", "parts"), [(1, 1), (1, 2), (2, 1), (2, 4), (4, 2), (16, 2)])
def test_channels_of_deformable_convolutions(groups: int, parts: int):
    subject = Subject(deforming(groups, parts), {"x": random(2, 3, 6, 7)})
    channels = analyse(Network.from_proto(subject.model))
    assert shares(channels) == {"Conv_0": 1.0, "Conv_1": 0.0, "Conv_2": 0.0, "DeformConv_0": 1.0, "Conv_3": 0.0}
    assert locked_because(channels)["it says where DeformConv_0 reads"] == {"Conv_1", "Conv_2"}
    for seed in range(2):
        check_removal(subject, seed)
    check_neighbours_show(subject, 0)


def test_a_trained_one_is_written_as_it_came_with_other_numbers():
    model, inputs = deforming(2, 2), {"x": random(2, 3, 6, 7)}
    network = Network.from_proto(model)
    layer = network.layer("DeformConv_0")
    assert (layer.kind, layer.in_channels, layer.out_channels) == ("DeformConv", 16, 16)
    with torch.no_grad():
        layer.weight.mul_(0.5)
    written = network.to_proto()
    (before,), (after,) = ([n for n in m.graph.node if n.op_type == "DeformConv"] for m in (model, written))
    assert list(before.input) == list(after.input)
    (expected,) = in_torch(network, inputs)
    assert np.abs(expected - run_onnx(model, inputs)[0]).max() > 0.1
    assert_all_close(run_onnx(written, inputs), [expected])
