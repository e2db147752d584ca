"""auto_pad and output_shape over sides of unknown length, as TensorFlow's exporters write them, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from core.network import Network
from core.network.channels import analyse
from core.network.ops import pool, same_padding
from core.network.ops.windows import SAME
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch, native
from tests.core.network.invariants import compare_removal
from tests.core.network.models import model_of, random, run_onnx

POOLS: dict[str, dict[str, Any]] = {"MaxPool": {}, "AveragePool": {}, "LpPool": {"p": 2}}
quickly = settings(max_examples=60, deadline=None, derandomize=True)


def free(rank: int) -> list[int | str]:
    return ["n", 4, *(f"side{axis}" for axis in range(rank))]


@st.composite
def windows(draw: st.DrawFn, rank: int = 2) -> dict[str, Any]:
    axes = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    return {
        "kernel_shape": draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)),
        "strides": draw(axes),
        "auto_pad": draw(st.sampled_from(SAME)),
    }


sides = st.lists(st.integers(4, 9), min_size=2, max_size=2)


@quickly
@given(window=windows(), sides=sides, groups=st.sampled_from([1, 2, 4]))
def test_convolutions(window: dict[str, Any], sides: list[int], groups: int):
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=groups, **window)
    constants = {"w": random(4, 4 // groups, *window["kernel_shape"]), "b": random(4)}
    assert_agrees(model_of([node], {"x": free(2)}, constants=constants), {"x": random(2, 4, *sides)})


@quickly
@given(window=windows(), sides=sides, op=st.sampled_from(list(POOLS)), includes=st.sampled_from([0, 1]))
def test_pools(window: dict[str, Any], sides: list[int], op: str, includes: int):
    """No window is narrower than its stride: onnxruntime takes that for negative padding."""
    window = {**window, "strides": [min(pair) for pair in zip(window["kernel_shape"], window["strides"], strict=True)]}
    attributes = {**POOLS[op], **({"count_include_pad": includes} if op == "AveragePool" else {})}
    node = helper.make_node(op, ["x"], ["y"], **window, **attributes)
    assert_agrees(model_of([node], {"x": free(2)}, opset=19), {"x": random(2, 4, *sides)})


def test_a_pool_with_dilations_is_padded_as_without():
    window: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 2], "dilations": [2, 3], "auto_pad": "SAME_UPPER"}
    node = helper.make_node("MaxPool", ["x"], ["y"], **window)
    for shape in ([2, 4, 9, 8], free(2)):
        assert_agrees(model_of([node], {"x": shape}), {"x": random(2, 4, 9, 8)})


@pytest.mark.parametrize("op", ["Conv", *POOLS])
@pytest.mark.parametrize("auto", SAME)
@pytest.mark.parametrize("is_known", [False, True])
def test_windows_that_leave_gaps_read_what_they_do_in_onnxruntime(op: str, auto: str, is_known: bool):
    constants = {"w": random(4, 4, 2)} if op == "Conv" else {}
    window: dict[str, Any] = {"strides": [5]} if op == "Conv" else {"strides": [3], "dilations": [2]}
    node = helper.make_node(op, ["x", *constants], ["y"], kernel_shape=[2], auto_pad=auto, **window)
    model = model_of([node], {"x": [2, 4, 30 if is_known else "n"]}, constants=constants, opset=19)
    inputs = {"x": random(2, 4, 30)}
    assert_all_close(in_torch(Network.from_proto(model), inputs), run_onnx(model, inputs))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("auto", SAME)
def test_lines_and_volumes(rank: int, auto: str):
    window: dict[str, Any] = {"kernel_shape": [3] * rank, "strides": [2] * rank, "auto_pad": auto}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], **window),
        helper.make_node("MaxPool", ["a"], ["y"], **window),
    ]
    model = model_of(nodes, {"x": free(rank)}, constants={"w": random(4, 4, *[3] * rank)})
    network = assert_agrees(model, {"x": random(2, 4, *[9, 8, 6][:rank])})
    assert {same_padding.pad_same, pool.pool_same} <= {node.target for node in network.graph.graph.nodes}


@quickly
@given(
    window=windows(),
    sides=sides,
    sizes=st.lists(st.integers(-3, 3), min_size=2, max_size=2),
    extra=st.booleans(),
    known=st.booleans(),
)
@example({"kernel_shape": [2, 2], "strides": [3, 3], "auto_pad": "SAME_UPPER"}, [4, 4], [2, 2], False, False)
def test_transposed_convolutions_to_a_shape(
    window: dict[str, Any], sides: list[int], sizes: list[int], extra: bool, known: bool
):
    """To somewhat more or less than the windows fill."""
    kernel, strides = window["kernel_shape"], window["strides"]
    behind = [min(1, stride - 1) if extra else 0 for stride in strides]
    full = [(size - 1) * s + k for size, k, s in zip(sides, kernel, strides, strict=True)]
    wanted = [size + min(more, s - 1) for size, more, s in zip(full, sizes, strides, strict=True)]
    node = helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], output_shape=wanted, output_padding=behind, **window
    )
    constants = {"w": random(4, 3, *kernel), "b": random(3)}
    shape = [2, 4, *sides] if known else free(2)
    assert_agrees(model_of([node], {"x": shape}, constants=constants), {"x": random(2, 4, *sides)})


def test_gradients_reach_what_is_padded_or_cropped():
    x = torch.randn(1, 2, 4, 5, dtype=torch.double, requires_grad=True)
    same: dict[str, Any] = {"strides": [2, 2], "auto": "SAME_LOWER"}
    assert torch.autograd.gradcheck(lambda x: same_padding.pad_same(x, wide=[3, 3], **same), x)
    assert torch.autograd.gradcheck(
        lambda x: same_padding.crop_to(x, sizes=[2, 4], uncounted=[0, 1], auto="SAME_UPPER"), x
    )
    window: dict[str, Any] = {"kernel": [3, 3], "dilations": [1, 1], "ceil": 0, **same}
    assert torch.autograd.gradcheck(lambda x: pool.pool_same(x, pool="LpPool", p=2, **window), x)


def mobile() -> ModelProto:
    """A stem, a depthwise and a pointwise convolution, a pool and a transposed convolution."""
    same: dict[str, Any] = {"auto_pad": "SAME_UPPER", "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], group=8, **same),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], **same),
        helper.make_node("ConvTranspose", ["d", "wider"], ["e"], strides=[3, 3], output_shape=[7, 7]),
        helper.make_node("Conv", ["e", "last"], ["y"]),
    ]
    constants = {"stem": random(8, 4, 3, 3), "depthwise": random(8, 1, 3, 3)}
    constants |= {"wider": random(8, 6, 3, 3), "last": random(5, 6, 1, 1)}
    return model_of(nodes, {"x": free(2)}, constants=constants)


@pytest.mark.parametrize("units", [slice(0, 3), slice(6, 11)])
def test_channels_are_cut_and_auto_pad_stays(units: slice):
    network = native(mobile())
    channels = analyse(network)
    assert len(channels.prunable()) == 8 + 6
    _, cut = compare_removal(network, channels.prunable()[units], {"x": random(2, 4, 17, 16)}, 1e-5)
    assert [node.op_type for node in cut.graph.node] == [node.op_type for node in mobile().graph.node]


def test_another_layer_in_the_place_of_one_keeps_its_padding():
    """In front of it the padding is spelt out."""
    network = Network.from_proto(mobile())
    x = {"x": random(2, 4, 13, 11)}
    expected = run_onnx(mobile(), x)
    layer = network.layer("Conv_0")
    first, second = torch.nn.Conv2d(4, 8, 3, stride=2, bias=False), torch.nn.Conv2d(8, 8, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(layer.weight)
        second.weight.copy_(torch.eye(8)[:, :, None, None])
    network.replace(layer, {"first": first, "second": second})
    found = run_onnx(network.to_proto(), x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-4)
