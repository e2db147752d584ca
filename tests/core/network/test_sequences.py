"""ReverseSequence and TensorScatter against onnxruntime, and running sums and products."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from core.network.channels import analyse
from core.network.network import Network
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

SHAPE = (3, 4, 2)

quickly = settings(max_examples=40, deadline=None, derandomize=True)


@quickly
@given(axes=st.permutations([0, 1]), seed=st.integers(0, 1000), is_constant=st.booleans())
def test_each_sequence_is_turned_as_far_as_it_goes(axes: list[int], seed: int, is_constant: bool):
    batch, time = axes
    node = helper.make_node("ReverseSequence", ["x", "n"], ["y"], batch_axis=batch, time_axis=time)
    lengths = np.random.default_rng(seed).integers(0, SHAPE[time], SHAPE[batch], endpoint=True)
    inputs = {"x": random(*SHAPE, seed=seed)} | ({} if is_constant else {"n": lengths})
    constants = {"n": lengths} if is_constant else {}
    shapes = {name: value.shape for name, value in inputs.items()}
    assert_agrees(model_of([node], shapes, constants=constants, types={"n": TensorProto.INT64}), inputs)


@quickly
@given(
    axis=st.sampled_from([-2, -1, 1, 2]),
    mode=st.sampled_from(["linear", "circular"]),
    seed=st.integers(0, 1000),
    has_starts=st.booleans(),
)
def test_new_steps_go_into_a_cache(axis: int, mode: str, seed: int, has_starts: bool):
    rng = np.random.default_rng(seed)
    shape = [2, 3, 5, 4]
    new = list(shape)
    new[axis] = int(rng.integers(1, shape[axis], endpoint=True))
    most = shape[axis] - 1 if mode == "circular" else shape[axis] - new[axis]
    inputs = {"x": random(*shape), "u": random(*new, seed=seed)}
    inputs |= {"i": rng.integers(0, most, 2, endpoint=True)} if has_starts else {}
    node = helper.make_node("TensorScatter", list(inputs), ["y"], axis=axis, mode=mode)
    shapes = {name: value.shape for name, value in inputs.items()}
    assert_agrees(model_of([node], shapes, opset=24, ir_version=10, types={"i": TensorProto.INT64}), inputs)


@quickly
@given(
    op=st.sampled_from(["CumSum", "CumProd"]),
    axis=st.integers(-3, 2),
    exclusive=st.sampled_from([0, 1]),
    reverse=st.sampled_from([0, 1]),
    is_constant=st.booleans(),
)
def test_running_sums_and_products(op: str, axis: int, exclusive: int, reverse: int, is_constant: bool):
    node = helper.make_node(op, ["x", "a"], ["y"], exclusive=exclusive, reverse=reverse)
    inputs: dict[str, Any] = {"x": random(*SHAPE)} | ({} if is_constant else {"a": np.array(axis)})
    constants = {"a": np.array(axis)} if is_constant else {}
    shapes = {name: value.shape for name, value in inputs.items()}
    types = {"a": TensorProto.INT64}
    assert_agrees(model_of([node], shapes, constants=constants, opset=26, ir_version=11, types=types), inputs)


def turning(op: str, *inputs: str, is_flat: bool = False, **attributes: Any) -> ModelProto:
    """A matrix, the operator, a matrix."""
    constants = {"v": random(3, 6), "w": random(6, 4, seed=1), "n": np.array([4, 2]), "a": np.array(0)}
    shape = (2, 3) if is_flat else (5, 2, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["t"]),
        helper.make_node(op, ["t", *inputs], ["r"], **attributes),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": shape}, constants=constants, opset=26, ir_version=11)


@pytest.mark.parametrize(("op", "inputs"), [("ReverseSequence", ["n"]), ("CumProd", ["a"])])
@pytest.mark.parametrize("seed", range(3))
def test_features_of_steps_pass(op: str, inputs: list[str], seed: int):
    subject = Subject(turning(op, *inputs), {"x": random(5, 2, 3)})
    assert shares(analyse(Network.from_proto(subject.model))) == {"MatMul_0": 1.0, "MatMul_1": 0.0}
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


def test_features_that_are_turned_as_if_they_were_steps_stay():
    model = turning("ReverseSequence", "n", is_flat=True, batch_axis=0, time_axis=1)
    assert locked_because(analyse(Network.from_proto(model)))["r moves it step by step"] == {"MatMul_0"}
    check_locked_shows(Subject(model, {"x": random(2, 3)}), 0)
