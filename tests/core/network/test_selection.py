"""What picks elements by their values, against onnxruntime: how many come out depends on the data."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from core.network.network import Network
from tests.core.network.agreement import assert_agrees, in_torch
from tests.core.network.models import model_of, random, run_onnx

quickly = settings(max_examples=60, deadline=None, derandomize=True)


@quickly
@given(seed=st.integers(0, 1000), shape=st.lists(st.integers(0, 4), max_size=4))
def test_what_is_not_zero(seed: int, shape: list[int]):
    x = np.random.default_rng(seed).integers(0, 2, shape).astype(np.float32)
    model = model_of([helper.make_node("NonZero", ["x"], ["y"])], {"x": shape}, types={"y": TensorProto.INT64})
    (expected,) = run_onnx(model, {"x": x})
    (found,) = in_torch(assert_agrees(model, {"x": x}), {"x": x})
    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist()


@quickly
@given(
    seed=st.integers(0, 1000),
    axis=st.sampled_from([None, -2, -1, 0, 1, 2]),
    length=st.integers(0, 60),
    is_constant=st.booleans(),
)
def test_what_a_condition_keeps(seed: int, axis: int | None, length: int, is_constant: bool):
    x = random(3, 4, 5)
    condition = np.random.default_rng(seed).random(min(length, x.size if axis is None else x.shape[axis])) < 0.5
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    node = helper.make_node("Compress", ["x", "c"], ["y"], **attributes)
    shapes = {"x": x.shape} if is_constant else {"x": x.shape, "c": condition.shape}
    constants = {"c": condition} if is_constant else {}
    model = model_of([node], shapes, constants=constants, opset=11, types={"c": TensorProto.BOOL})
    assert_agrees(model, {"x": x} if is_constant else {"x": x, "c": condition})


@quickly
@given(
    seed=st.integers(0, 1000),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    axis=st.sampled_from([None, 0, -1]),
    is_sorted=st.sampled_from([0, 1]),
)
def test_what_there_is_once(seed: int, shape: list[int], axis: int | None, is_sorted: int):
    x = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    attributes: dict[str, Any] = {"sorted": is_sorted} | ({} if axis is None else {"axis": axis})
    names = ("y", "first", "kinds", "counts")
    node = helper.make_node("Unique", ["x"], names, **attributes)
    model = model_of([node], {"x": shape}, names, types=dict.fromkeys(names[1:], TensorProto.INT64))
    expected, found = run_onnx(model, {"x": x}), in_torch(assert_agrees(model, {"x": x}), {"x": x})
    assert [one.tolist() for one in found] == [one.tolist() for one in expected]


@pytest.mark.parametrize("op", ["Compress", "Unique"])
def test_gradients_reach_what_is_picked(op: str):
    x = torch.tensor([3.0, 1.0, 3.0, 2.0], requires_grad=True)
    inputs = ["x", "c"] if op == "Compress" else ["x"]
    constants = {"none": np.float32(1.5)}
    nodes = [helper.make_node("Greater", ["x", "none"], ["c"]), helper.make_node(op, inputs, ["y"])]
    network = Network.from_proto(model_of(nodes, {"x": [4]}, constants=constants, opset=13))
    network({"x": x})["y"].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == ([1, 0, 1, 1] if op == "Compress" else [1, 1, 0, 1])


def test_sizes_that_depend_on_the_data_go_on():
    """As detectors do: what is found is counted, and rows are picked where it is."""
    nodes = [
        helper.make_node("Greater", ["x", "none"], ["c"]),
        helper.make_node("NonZero", ["c"], ["z"]),
        helper.make_node("Shape", ["z"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["n"], axis=0),
        helper.make_node("Transpose", ["z"], ["t"], perm=[1, 0]),
        helper.make_node("GatherND", ["x", "t"], ["g"]),
        helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["g", "f"], ["y"]),
    ]
    constants = {"none": np.float32(0), "one": np.array([1])}
    model = model_of(nodes, {"x": ["a", "b"]}, constants=constants, opset=13)
    for seed in range(3):
        assert_agrees(model, {"x": random(3, 4, seed=seed)})
