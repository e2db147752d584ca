"""EyeLike and Det against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from core.network.ops.matrices import det
from tests.core.network.agreement import assert_agrees, in_torch
from tests.core.network.models import model_of, random, run_onnx

KINDS = [0, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    k=st.integers(-5, 5),
    given_kind=st.sampled_from(KINDS[1:]),
    kind=st.sampled_from(KINDS),
)
def test_matrices_with_ones_on_a_diagonal(shape: tuple[int, int], k: int, given_kind: int, kind: int):
    attributes: dict[str, Any] = {"k": k} | ({"dtype": kind} if kind else {})
    node = helper.make_node("EyeLike", ["x"], ["y"], **attributes)
    model = model_of([node], {"x": shape}, types={"x": given_kind, "y": kind or given_kind})
    x = np.zeros(shape, helper.tensor_dtype_to_np_dtype(given_kind))
    assert in_torch(assert_agrees(model, {"x": x}), {"x": x})[0].tolist() == run_onnx(model, {"x": x})[0].tolist()


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (2, 1, 1, 1)])
def test_determinants(shape: tuple[int, ...]):
    model = model_of([helper.make_node("Det", ["x"], ["y"])], {"x": shape})
    assert_agrees(model, {"x": random(*shape)})
    assert torch.autograd.gradcheck(det, torch.from_numpy(random(*shape)).double().requires_grad_())
