"""Losses of classes against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from core.network.ops.losses import entropy_loss, likelihood_loss
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random

CLASSES = 4
quickly = settings(max_examples=40, deadline=None, derandomize=True)


@quickly
@given(
    op=st.sampled_from(["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"]),
    places=st.lists(st.integers(1, 4), max_size=2),
    reduction=st.sampled_from(["none", "mean", "sum"]),
    weighted=st.booleans(),
    ignored=st.sampled_from([None, 0, 2, -1]),
    outputs=st.sampled_from([1, 2]),
    kind=st.sampled_from([np.int32, np.int64]),
)
def test_losses(
    op: str, places: list[int], reduction: str, weighted: bool, ignored: int | None, outputs: int, kind: Any
):
    target = np.random.default_rng(1).integers(0, CLASSES, (5, *places)).astype(kind)
    if ignored is not None:
        target.flat[1] = ignored
    inputs = {"x": random(5, CLASSES, *places), "t": target}
    constants = {"w": np.abs(random(CLASSES)) + 0.1} if weighted else {}
    names = ["y", "logs"][: outputs if op == "SoftmaxCrossEntropyLoss" else 1]
    attributes = {} if ignored is None else {"ignore_index": ignored}
    node = helper.make_node(op, [*inputs, *constants], names, reduction=reduction, **attributes)
    types: dict[str, int] = {"t": helper.np_dtype_to_tensor_dtype(target.dtype)}
    shapes: dict[str, Any] = {"x": ["n", CLASSES, *places], "t": ["n", *places]}
    assert_agrees(model_of([node], shapes, names, constants, types=types), inputs)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradients_reach_the_scores_and_the_weights(reduction: str):
    x = torch.randn(3, CLASSES, 2, dtype=torch.double, requires_grad=True)
    target, weight = torch.tensor([[0, 3], [1, 1], [2, 0]], dtype=torch.int32), torch.rand(CLASSES, dtype=torch.double)
    literals: dict[str, Any] = {"reduction": reduction, "ignore": 1}
    assert torch.autograd.gradcheck(lambda x: likelihood_loss(x, target, weight, **literals), x)
    assert torch.autograd.gradcheck(lambda x: entropy_loss(x, target, weight, **literals), x)
