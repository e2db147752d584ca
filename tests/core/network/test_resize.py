"""Resize and Upsample against onnxruntime, in every mode, by factors and to sizes, known and computed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper

from core.network import Network
from core.network.channels import analyse
from core.network.ops.interpolation import ROUNDINGS, TRANSFORMS
from core.network.surgery import remove_units, zero_units
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random, run_onnx

IMAGE = (2, 3, 6, 5)
SIZES = [(2, 3, 9, 11), (2, 3, 3, 4), (2, 3, 1, 12), (2, 3, 12, 10)]
SCALES = [(1, 1, 2, 2), (1, 1, 0.5, 1.7), (1, 1, 0.8, 2.6)]
MODES: list[dict[str, Any]] = [{"mode": "nearest", "nearest_mode": rounding} for rounding in ROUNDINGS]
MODES += [
    {"mode": "linear"},
    {"mode": "cubic"},
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
]


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def resized(opset: int, target: dict[str, Any], shape: Any = IMAGE, **attributes: Any) -> ModelProto:
    """One Resize of `x` by the constant `scales` or to the constant `sizes`."""
    node = helper.make_node("Resize", ["x", *_inputs(opset, target)], ["y"], **attributes)
    return model_of([node], {"x": shape}, constants={"none": f32(), **target}, opset=opset)


def _inputs(opset: int, target: dict[str, Any]) -> list[str]:
    """What stands for the inputs that are left out changed at opset 13."""
    if opset < 11:
        return list(target)
    left_out = "" if opset >= 13 else "none"
    return [left_out, "scales"] if "scales" in target else [left_out, left_out, "sizes"]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(str(value) for value in mode.values()))
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_mode(transform: str, mode: dict[str, Any]):
    """The opset takes turns, so that each mode meets the old and the new one."""
    targets = [{"sizes": np.array(sizes)} for sizes in SIZES] + [{"scales": f32(*scales)} for scales in SCALES]
    opsets = [19 if transform == "half_pixel_symmetric" else opset for opset in (11, 13, 18, 19)]
    for turn, target in enumerate(targets):
        model = resized(opsets[turn % 4], target, coordinate_transformation_mode=transform, **mode)
        assert_agrees(model, {"x": random(*IMAGE)})


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 12),
    scale=st.integers(1, 60).map(lambda tenth: tenth / 10),
    transform=st.sampled_from(TRANSFORMS),
    mode=st.sampled_from(MODES),
)
def test_any_factor(length: int, scale: float, transform: str, mode: dict[str, Any]):
    if int(np.float32(scale) * length) == 0:
        return
    shape = (1, 1, length, 3)
    target = {"scales": f32(1, 1, scale, 1)}
    assert_agrees(resized(19, target, shape, coordinate_transformation_mode=transform, **mode), {"x": random(*shape)})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 3), (1, 1, 0.6, 0.5), (1, 1, 1.3, 2)])
def test_opset_10_rounds_up_where_it_shrinks(scales: tuple[float, ...], mode: str):
    assert_agrees(resized(10, {"scales": f32(*scales)}, mode=mode), {"x": random(*IMAGE)})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [8, 9])
def test_upsample(opset: int, mode: str):
    constants = {"s": f32(1, 1, 2, 3)} if opset == 9 else {}
    attributes: dict[str, Any] = {"scales": [1.0, 1.0, 2.0, 3.0]} if opset == 8 else {}
    node = helper.make_node("Upsample", ["x", *constants], ["y"], mode=mode, **attributes)
    assert_agrees(model_of([node], {"x": IMAGE}, constants=constants, opset=opset), {"x": random(*IMAGE)})


@pytest.mark.parametrize("target", [{"sizes": np.array([4, 9])}, {"scales": f32(0.7, 1.5)}], ids=str)
def test_along_some_axes(target: dict[str, Any]):
    assert_agrees(resized(18, target, mode="linear", axes=[-1, 2]), {"x": random(*IMAGE)})


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 2, 4, 5, 3)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_of_lines_and_volumes(shape: tuple[int, ...], mode: str):
    scales = f32(1, 1, *[1.5] * (len(shape) - 2))
    assert_agrees(resized(13, {"scales": scales}, shape, mode=mode), {"x": random(*shape)})


def test_integers_are_picked():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
    types: dict[str, int] = {"x": TensorProto.INT32, "y": TensorProto.INT32}
    model = model_of([node], {"x": IMAGE}, constants={"s": f32(1, 1, 2, 1.4)}, types=types)
    assert_agrees(model, {"x": np.arange(180, dtype=np.int32).reshape(IMAGE)})


FREE = ("n", 3, "h", "w")
MADE: dict[str, tuple[tuple[Any, ...], list[NodeProto]]] = {
    "as torch writes it": (
        ("n", 3, 6, 5),
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Slice", ["shape", "zero", "two"], ["kept"]),
            helper.make_node("Concat", ["kept", "sides"], ["sizes"], axis=0),
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
        ],
    ),
    "twice the size": (
        FREE,
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Mul", ["shape", "double"], ["sizes"]),
            helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="cubic"),
        ],
    ),
    "computed factors": (
        FREE,
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["old"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["all"], ["new"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["new", "old"], ["scales"]),
            helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest"),
        ],
    ),
}
NUMBERS = {
    "zero": np.array([0]),
    "two": np.array([2]),
    "sides": np.array([8, 3]),
    "double": np.array([1, 1, 2, 2]),
    "all": np.array([2, 3, 8, 3]),
}


@pytest.mark.parametrize("name", MADE)
def test_computed_targets(name: str):
    shape, nodes = MADE[name]
    used = {part for node in nodes for part in node.input}
    constants = {key: value for key, value in NUMBERS.items() if key in used}
    assert_agrees(model_of(nodes, {"x": shape}, constants=constants), {"x": random(*IMAGE)})


@pytest.mark.parametrize("attributes", [{"antialias": 1}, {"keep_aspect_ratio_policy": "not_larger"}], ids=str)
def test_what_torch_has_no_form_for_is_opaque(attributes: dict[str, Any]):
    model = resized(19, {"sizes": np.array([2, 3, 3, 4])}, mode="linear", **attributes)
    assert next(iter(attributes)) in Network.from_proto(model).notes[0]


@pytest.mark.parametrize("is_computed", [False, True])
def test_channels_are_cut_through_a_resize_to_literal_sizes(is_computed: bool):
    target = MADE["as torch writes it"][1][:3] if is_computed else []
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        *[helper.make_node(n.op_type, ["a" if i == "x" else i for i in n.input], n.output, axis=0) for n in target[2:]],
        helper.make_node("Resize", ["a", "", "", "sizes"], ["b"], mode="linear"),
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    if is_computed:
        nodes[1:1] = [helper.make_node("Shape", ["a"], ["shape"]), target[1]]
    constants = {"w1": random(8, 3, 1, 1), "w2": random(4, 8, 1, 1)}
    constants |= {name: NUMBERS[name] for name in ("zero", "two", "sides")} if is_computed else {}
    constants |= {} if is_computed else {"sizes": np.array([2, 8, 9, 4])}
    batch = "n" if is_computed else 2
    network = Network.from_proto(model_of(nodes, {"x": (batch, 3, 6, 5)}, constants=constants))
    channels = analyse(network)
    units = [unit for group in channels.groups for unit in group.units][:3]
    zeroed, x = network.copy(), {"x": random(*IMAGE)}
    zero_units(zeroed, analyse(zeroed), units)
    expected = run_onnx(zeroed.to_proto(), x)[0]
    remove_units(network, channels, units)
    np.testing.assert_allclose(run_onnx(network.to_proto(), x)[0], expected, rtol=1e-5, atol=1e-5)
    assert sorted(layer.weight.shape[:2] for layer in network.layers(having="weight")) == [(4, 5), (5, 3)]
