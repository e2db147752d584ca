"""The functions that pick elements out and put them in, against onnxruntime."""

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

SHAPE = (3, 4, 5)
INDICES = np.array([[[0, -1, 2], [1, 1, 0]]])


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
    **{
        f"ScatterND {reduction} {places}": (
            "ScatterND",
            {"i": np.array(places), "u": random(len(places), *SHAPE[len(places[0]) :])},
            {"reduction": reduction},
        )
        for reduction in ("add", "mul", "max", "min")
        for places in ([[0], [-1], [0]], [[2, 3], [-1, -1], [0, 0]])
    },
    **{
        f"ScatterND {reduction} at {places}": (
            "ScatterND",
            {"i": np.array(places), "u": random(*SHAPE[len(places) :])},
            {"reduction": reduction},
        )
        for reduction in ("none", "add", "max")
        for places in ([1], [2, -1])
    },
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


def choosing(op: str, axis: int = 2) -> ModelProto:
    """(batch, channels, places): layers, and four elements of theirs along an axis; in mode back among zeros."""
    width, sizes = (6, [2, 6, 4]) if axis == 2 else (4, [2, 4, 6])
    constants: dict[str, Any] = {"v": random(6, 3, 3), "w": random(6, 3, 3, seed=1), "h": random(2, width, 1, seed=2)}
    constants |= {"k": np.array([4]), "s": np.array(sizes)}
    constants["i"] = np.random.default_rng(0).integers(0, 6, sizes)
    places = {"as another": "j", "expanded": "e", "constant": "i"}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"]),
        helper.make_node("Conv", ["x", "w"], ["b"]),
        helper.make_node("TopK", ["a", "k"], ["t", "j"], axis=axis),
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[3]),
        helper.make_node("ReduceMean", ["p"], ["m"], axes=[1]),
        helper.make_node("TopK", ["m", "k"], ["unread", "r"], axis=2),
        helper.make_node("Expand", ["r", "s"], ["e"]),
        helper.make_node("GatherElements", ["b", places.get(op, "i")], ["g"], axis=axis),
        helper.make_node("Shape", ["x"], ["d"]),
        helper.make_node("Slice", ["d", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "width", "length"], ["z"], axis=0),
        helper.make_node("ConstantOfShape", ["z"], ["o"]),
        helper.make_node("ScatterElements", ["o", "j", "t"], ["u"], axis=axis),
        helper.make_node("Conv", [{"TopK": "t", "back": "u"}.get(op, "g"), "h"], ["y"]),
    ]
    constants |= {"zero": np.array([0]), "one": np.array([1]), "width": np.array([6]), "length": np.array([6])}
    return model_of(nodes, {"x": ("n" if op == "back" else 2, 3, 8)}, constants=constants)


@pytest.mark.parametrize("op", ["TopK", "as another", "expanded", "constant", "back"])
@pytest.mark.parametrize("seed", range(2))
def test_channels_pass_what_picks_along_another_axis(op: str, seed: int):
    subject = Subject(choosing(op), {"x": random(2, 3, 8)})
    assert sorted(shares(analyse(Network.from_proto(subject.model))).values())[1:] == [1.0] * (1 + (op == "as another"))
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


@pytest.mark.parametrize(("op", "reason"), [("TopK", "t sorts it"), ("constant", "g picks from it by number")])
def test_channels_that_are_picked_from_stay(op: str, reason: str):
    model = choosing(op, axis=1)
    assert locked_because(analyse(Network.from_proto(model)))[reason]
    check_locked_shows(Subject(model, {"x": random(2, 3, 8)}), 0)
