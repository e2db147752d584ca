"""Max pools that say where each maximum stood, and what puts them back there, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper

from core.network.channels import analyse
from core.network.network import Network
from tests.core.network.agreement import assert_agrees, in_torch
from tests.core.network.invariants import (
    Subject,
    check_locked_shows,
    check_neighbours_show,
    check_removal,
    locked_because,
    shares,
)
from tests.core.network.models import model_of, random, run_onnx

quickly = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    return {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in kernel],
        "dilations": [draw(st.integers(1, 2)) for _ in kernel],
        "pads": [draw(st.integers(0, size - 1)) for size in [*kernel, *kernel]],
        "ceil_mode": draw(st.integers(0, 1)),
        "storage_order": draw(st.integers(0, 1)),
    }


@quickly
@given(window=windows(), seed=st.integers(0, 1000))
def test_where_each_maximum_stood(window: dict[str, Any], seed: int):
    """Rounded numbers tie: of equal ones the first is told."""
    shape = [2, 2, *[7, 6, 8][: len(window["kernel_shape"])]]
    x = np.round(random(*shape, seed=seed))
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], **window)
    model = model_of([node], {"x": shape}, ("y", "i"), types={"i": TensorProto.INT64})
    (_, expected) = run_onnx(model, {"x": x})
    (_, found) = in_torch(assert_agrees(model, {"x": x}), {"x": x})
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8])
def test_pools_of_integers_are_padded_with_the_least(kind: int):
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 1, 1], strides=[2, 2])
    x = np.random.default_rng(0).integers(0, 100, (1, 2, 5, 5)).astype(helper.tensor_dtype_to_np_dtype(kind))
    model = model_of([node], {"x": x.shape}, types={"x": kind, "y": kind})
    assert_agrees(model, {"x": x})


def pooled(**window: Any) -> NodeProto:
    return helper.make_node("MaxPool", ["a"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2], **window)


def unpooled(*inputs: str, **window: Any) -> NodeProto:
    return helper.make_node("MaxUnpool", list(inputs), ["u"], kernel_shape=[2, 2], strides=[2, 2], **window)


@pytest.mark.parametrize("sizes", ["none", "constant", "computed"])
def test_maxima_go_back_to_where_they_stood(sizes: str):
    """The shape has to be told where the pool left something over."""
    shape = [2, 3, 6, 8] if sizes == "none" else [2, 3, 7, 8]
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        pooled(),
        unpooled(*(["p", "i", "s"][: 2 + (sizes != "none")])),
    ]
    constants = {"s": np.array(shape)} if sizes == "constant" else {}
    if sizes == "computed":
        nodes.insert(1, helper.make_node("Shape", ["a"], ["s"]))
    model = model_of(nodes, {"x": ["n", 3, "h", 8]}, ("u",), constants)
    (found,) = in_torch(assert_agrees(model, {"x": random(*shape)}), {"x": random(*shape)})
    assert (found != 0).sum() == 2 * 3 * 3 * 4


def test_the_window_s_pads_shrink_what_comes_back():
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        pooled(pads=[1, 0, 1, 0]),
        unpooled("p", "i", pads=[1, 0, 1, 0]),
    ]
    assert_agrees(model_of(nodes, {"x": [2, 3, 6, 8]}, ("u",)), {"x": random(2, 3, 6, 8)})


def test_gradients_go_back_to_where_the_maxima_stood():
    nodes = [helper.make_node("Identity", ["x"], ["a"]), pooled(), unpooled("p", "i")]
    network = Network.from_proto(model_of(nodes, {"x": [1, 2, 4, 4]}, ("u",)))
    x = torch.from_numpy(random(1, 2, 4, 4)).requires_grad_()
    y = network({"x": x})["u"]
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (y != 0).float())


def segmenting(sizes: str = "computed", *between: NodeProto, features: str = "c") -> ModelProto:
    """As SegNet: a convolution, a pool, a convolution of the pooled, an unpool, a last convolution."""
    weights = {"v": (6, 3, 3, 3), "w": (6, 6, 3, 3), "h": (2, 6, 1, 1)}
    constants: dict[str, Any] = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(weights.items())}
    if sizes != "computed":
        constants["s"] = np.array([2, 6, 7 if sizes == "constant" else 8, 8])
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1] * 4),
        pooled(),
        helper.make_node("Conv", ["p", "w"], ["c"], pads=[1] * 4),
        *([helper.make_node("Shape", ["a"], ["s"])] if sizes == "computed" else []),
        *between,
        unpooled(features, "i", "s"),
        helper.make_node("Conv", ["u", "h"], ["y"]),
    ]
    shape = ["n", 3, "h", 8] if sizes == "computed" else [2, 3, 7, 8]
    return model_of(nodes, {"x": shape}, constants=constants)


@pytest.mark.parametrize("sizes", ["constant", "computed"])
@pytest.mark.parametrize("seed", range(3))
def test_channels_go_through_pool_and_unpool_together(sizes: str, seed: int):
    subject = Subject(segmenting(sizes), {"x": random(2, 3, 7, 8)})
    assert shares(analyse(Network.from_proto(subject.model))) == {"Conv_0": 1.0, "Conv_1": 1.0, "Conv_2": 0.0}
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


def test_places_that_something_else_reads_lock_the_channels():
    numbers = [
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["f"], ["m"], axes=[1, 2, 3]),
        helper.make_node("Add", ["c", "m"], ["d"]),
    ]
    model = segmenting("computed", *numbers, features="d")
    reasons = locked_because(analyse(Network.from_proto(model)))
    assert {"Conv_0", "Conv_1"} in reasons.values()
    check_locked_shows(Subject(model, {"x": random(2, 3, 7, 8)}), 0)


def test_places_that_are_read_in_another_shape_lock_the_channels():
    model = segmenting("larger")
    reasons = locked_because(analyse(Network.from_proto(model)))
    assert reasons["u reads its places in another shape"] == {"Conv_0", "Conv_1"}
    check_locked_shows(Subject(model, {"x": random(2, 3, 7, 8)}), 0)
