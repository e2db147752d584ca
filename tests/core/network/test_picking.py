"""Einsum, and the functions that pick elements out and put them in, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random

SHAPE = (3, 4, 5)
INDICES = np.array([[[0, -1, 2], [1, 1, 0]]])

EQUATIONS = {
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
    "b i j , k j": ((2, 3, 4), (5, 4)),
    "...ij,...kj->...ik": ((2, 2, 3, 4), (2, 2, 5, 4)),
    "bhwc,hkc->bhwk": ((2, 3, 4, 5), (3, 6, 5)),
    "ij->ji": ((3, 4),),
    "ii->i": ((4, 4),),
    "i,j,k->ijk": ((2,), (3,), (4,)),
}


@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str, is_constant: bool):
    values = {f"v{k}": random(*shape, seed=k) for k, shape in enumerate(EQUATIONS[equation])}
    inputs = {name: x for name, x in values.items() if name == "v0" or not is_constant}
    constants = {name: x for name, x in values.items() if name not in inputs}
    node = helper.make_node("Einsum", list(values), ["y"], equation=equation)
    shapes = {name: x.shape for name, x in inputs.items()}
    assert_agrees(model_of([node], shapes, constants=constants), inputs)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(axis=st.integers(-3, 2), largest=st.sampled_from([0, 1]), count=st.integers(1, 3), is_tied=st.booleans())
def test_top_k(axis: int, largest: int, count: int, is_tied: bool):
    x = np.round(random(*SHAPE)) if is_tied else random(*SHAPE)
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest)
    constants = {"k": np.array([count])}
    model = model_of([node], {"x": SHAPE}, ("y", "i"), constants, types={"i": TensorProto.INT64})
    assert_agrees(model, {"x": x})


PICKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "GatherElements": ("GatherElements", {"i": INDICES}, {"axis": 1}),
    "GatherElements last": ("GatherElements", {"i": INDICES}, {"axis": -1}),
    "ScatterElements": ("ScatterElements", {"i": INDICES[:, :1], "u": random(1, 1, 3)}, {"axis": 1}),
    "ScatterElements add": ("ScatterElements", {"i": INDICES, "u": random(1, 2, 3)}, {"axis": 2, "reduction": "add"}),
    "ScatterElements max": ("ScatterElements", {"i": INDICES, "u": random(1, 2, 3)}, {"axis": 1, "reduction": "max"}),
    "GatherND": ("GatherND", {"i": np.array([[0, -1], [2, 3]])}, {}),
    "GatherND batch": ("GatherND", {"i": np.array([[1], [0], [-1]])}, {"batch_dims": 1}),
    "ScatterND": ("ScatterND", {"i": np.array([[0], [-1]]), "u": random(2, 4, 5)}, {}),
    "Trilu": ("Trilu", {}, {}),
    "Trilu lower": ("Trilu", {"k": np.array(-1)}, {"upper": 0}),
    "CumSum exclusive": ("CumSum", {"a": np.array(1)}, {"exclusive": 1}),
    "CumSum reverse": ("CumSum", {"a": np.array(-1)}, {"reverse": 1, "exclusive": 1}),
}


@pytest.mark.parametrize("name", PICKS)
def test_picks_agree(name: str):
    op, constants, attributes = PICKS[name]
    node = helper.make_node(op, ["x", *constants], ["y"], **attributes)
    assert_agrees(model_of([node], {"x": SHAPE}, constants=constants, opset=18), {"x": random(*SHAPE)})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot(axis: int):
    node = helper.make_node("OneHot", ["x", "depth", "values"], ["y"], axis=axis)
    constants = {"depth": np.array([4]), "values": np.array([0.5, 2.0], np.float32)}
    model = model_of([node], {"x": [2, 3]}, constants=constants, types={"x": TensorProto.INT64})
    assert_agrees(model, {"x": np.array([[0, 3, -1], [7, 1, -9]])})
