"""LinearAttention and CausalConvWithState against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from core.network.ops.linear_attention import ACTIVATIONS, RULES, causal_convolution, linear_attention
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random

quickly = settings(max_examples=50, deadline=None, derandomize=True)
NEW: dict[str, Any] = {"opset": 27, "ir_version": 13}


def model(op: str, names: list[str], inputs: dict[str, np.ndarray], constants: Any = None, **attributes: Any) -> Any:
    node = helper.make_node(op, names, ["y", "state"], **attributes)
    shapes = {name: value.shape for name, value in inputs.items()}
    return model_of([node], shapes, ("y", "state"), constants, **NEW)


@quickly
@given(
    rule=st.sampled_from(RULES),
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2), (4, 1)]),
    length=st.integers(1, 5),
    scale=st.sampled_from([0.0, 0.3]),
    started=st.booleans(),
    by_head=st.booleans(),
    shared=st.booleans(),
)
def test_linear_attention(
    rule: str, heads: tuple[int, int], length: int, scale: float, started: bool, by_head: bool, shared: bool
):
    queries, groups = heads
    inputs = {"x": random(2, length, queries * 4), "k": random(2, length, groups * 4, seed=1)}
    inputs |= {"v": random(2, length, groups * 3, seed=2)}
    if started:
        inputs["past"] = random(2, groups, 4, 3, seed=3)
    if "gated" in rule:
        inputs["decay"] = -np.abs(random(2, length, groups * (1 if by_head else 4), seed=4))
    if "delta" in rule:
        inputs["k"] = 0.5 * inputs["k"]
        inputs["rate"] = np.abs(random(2, length, 1 if shared else groups, seed=5)) / 3
    names = [name if name in inputs else "" for name in ("x", "k", "v", "past", "decay", "rate")]
    while not names[-1]:
        names.pop()
    attributes = {"q_num_heads": queries, "kv_num_heads": groups, "update_rule": rule, "scale": scale}
    assert_agrees(model("LinearAttention", names, inputs, **attributes), inputs)


@quickly
@given(
    length=st.integers(1, 6),
    kernel=st.integers(1, 4),
    biased=st.booleans(),
    started=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    fixed=st.booleans(),
)
def test_causal_convolution(length: int, kernel: int, biased: bool, started: bool, activation: str, fixed: bool):
    given = {"x": random(2, 3, length), "w": random(3, 1, kernel, seed=1)}
    given |= {"b": random(3, seed=2)} if biased else {}
    given |= {"past": random(2, 3, kernel - 1, seed=3)} if started and kernel > 1 else {}
    names = [name if name in given else "" for name in ("x", "w", "b", "past")]
    while not names[-1]:
        names.pop()
    constants = {name: given[name] for name in ("w", "b") if fixed and name in given}
    inputs = {name: value for name, value in given.items() if name not in constants}
    assert_agrees(model("CausalConvWithState", names, inputs, constants, activation=activation), inputs)


def test_weights_of_a_causal_convolution_are_trained():
    inputs, constants = {"x": random(2, 3, 5)}, {"w": random(3, 1, 4), "b": random(3)}
    network = assert_agrees(model("CausalConvWithState", ["x", "w", "b"], inputs, constants), inputs)
    assert sorted(p.numel() for p in network.graph.parameters()) == [3, 12]


@pytest.mark.parametrize("rule", RULES)
def test_gradients_reach_everything_that_is_read(rule: str):
    shapes = [(1, 3, 4), (1, 3, 2), (1, 3, 2), (1, 1, 2, 2)] + [(1, 3, 1)] * 2
    given = tuple(torch.rand(*shape, dtype=torch.double, requires_grad=True) for shape in shapes)
    literals: dict[str, Any] = {"heads": 2, "groups": 1, "scale": 0.0, "rule": rule}
    read = given[: 4 if rule == "linear" else 5 if rule == "gated" else 6]
    assert torch.autograd.gradcheck(lambda *of: linear_attention(*of, **literals), read)


def test_gradients_pass_a_causal_convolution():
    given = tuple(
        torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((1, 2, 3), (2, 1, 3), (2,), (1, 2, 2))
    )
    assert torch.autograd.gradcheck(lambda *of: causal_convolution(*of, activation="silu"), given)
