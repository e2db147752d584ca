"""Resize and Upsample against onnxruntime, in every mode, by factors and to sizes, known and computed."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper

from core.network import Network
from core.network.channels import analyse
from core.network.channels.surgery import remove_units, zero_units
from core.network.ops import fitted_resize, resize
from core.network.ops.fitted_resize import POLICIES
from core.network.ops.interpolation import NEAREST, ROUNDINGS, TRANSFORMS
from tests.core.network.agreement import assert_agrees, native
from tests.core.network.invariants import compare_removal, locked_because
from tests.core.network.models import model_of, random, run_onnx

IMAGE = (2, 3, 6, 5)
SIZES = [(2, 3, 9, 11), (2, 3, 3, 4), (2, 3, 1, 12), (2, 3, 12, 10)]
SCALES = [(1, 1, 2, 2), (1, 1, 0.5, 1.7), (1, 1, 0.8, 2.6)]
quickly = settings(max_examples=60, deadline=None, derandomize=True)
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


def test_half_pixels_of_tensorflow():
    """Which opset 11 had alone."""
    for target in ({"scales": f32(1, 1, 2, 0.7)}, {"sizes": np.array([2, 3, 9, 4])}):
        mode = {"mode": "nearest", "nearest_mode": "floor"}
        assert_agrees(resized(11, target, coordinate_transformation_mode=NEAREST, **mode), {"x": random(*IMAGE)})


def test_a_matrix_stays_when_nothing_is_resized():
    assert_agrees(resized(13, {"scales": f32(1, 1)}, (2, 3), mode="nearest"), {"x": random(2, 3)})


def test_samples_and_channels_are_resized_too_by_computed_factors():
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
    assert_agrees(model_of([node], {"x": IMAGE, "s": [4]}, opset=13), {"x": random(*IMAGE), "s": f32(2, 1.5, 1, 2)})


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


SOFT = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@quickly
@given(
    sides=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    sizes=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    transform=st.sampled_from(SOFT),
    mode=st.sampled_from(["linear", "cubic"]),
    exclude=st.sampled_from([0, 1]),
    coefficient=st.sampled_from([-0.75, -0.5]),
)
def test_a_wider_window_where_an_image_shrinks(
    sides: tuple[int, int], sizes: tuple[int, int], transform: str, mode: str, exclude: int, coefficient: float
):
    attributes = {"mode": mode, "antialias": 1, "exclude_outside": exclude, "cubic_coeff_a": coefficient}
    target = {"sizes": np.array([2, 3, *sizes])}
    model = resized(18, target, (2, 3, *sides), coordinate_transformation_mode=transform, **attributes)
    assert_agrees(model, {"x": random(2, 3, *sides)}, 1e-4)


@quickly
@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    sizes=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    policy=st.sampled_from(list(POLICIES)),
    mode=st.sampled_from(["nearest", "linear"]),
    axes=st.sampled_from([[2, 3], [3, 2]]),
)
def test_the_aspect_ratio_is_kept(
    sides: tuple[int, int], sizes: tuple[int, int], policy: str, mode: str, axes: list[int]
):
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode=mode, axes=axes, keep_aspect_ratio_policy=policy)
    inputs = {"x": random(2, 3, *sides), "s": np.array(sizes)}
    scale = (min if policy == "not_larger" else max)(
        size / sides[axis - 2] for axis, size in zip(axes, sizes, strict=True)
    )
    assume(min(sides) * scale > 0.6)
    shapes = {"x": FREE, "s": [2]}
    assert_agrees(model_of([node], shapes, opset=18, types={"s": TensorProto.INT64}), inputs)


def test_an_aspect_ratio_along_negative_axes_is_left_to_onnxruntime():
    model = resized(18, {"sizes": np.array([4, 9])}, keep_aspect_ratio_policy="not_larger", axes=[-1, 2])
    assert "negative axes" in Network.from_proto(model).notes[0]


@quickly
@given(
    box=st.tuples(*[st.integers(-3, 4)] * 2, *[st.integers(5, 14)] * 2),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    mode=st.sampled_from(MODES),
    form=st.sampled_from(["all", "axes", "factors"]),
    value=st.sampled_from([0.0, 7.5]),
    opset=st.sampled_from([11, 13, 18]),
)
def test_a_part_is_resized(
    box: tuple[int, ...], sizes: tuple[int, int], mode: dict[str, Any], form: str, value: float, opset: int
):
    """The box is an input. No position is halfway between two places, where rounding is a matter of the last bit."""
    along = form == "axes" and opset == 18
    edges = [tenth / 10 + 0.0137 for tenth in box]
    roi = f32(*edges) if along else f32(0, 0, *edges[:2], 1, 1, *edges[2:])
    scales = f32(1, 1, *(size / 4 for size in sizes))
    target = "scales" if form == "factors" else "sizes"
    constants = {"none": f32(), "scales": scales, "sizes": np.array(sizes if along else [2, 3, *sizes])}
    inputs = ["x", "roi", "scales"] if form == "factors" else ["x", "roi", "none" if opset < 13 else "", "sizes"]
    attributes = {**mode, "extrapolation_value": value, **({"axes": [2, 3]} if along else {})}
    node = helper.make_node("Resize", inputs, ["y"], coordinate_transformation_mode="tf_crop_and_resize", **attributes)
    used = {name: constant for name, constant in constants.items() if name in (target, "none")}
    model = model_of([node], {"x": IMAGE, "roi": roi.shape}, constants=used, opset=opset)
    assert_agrees(model, {"x": random(*IMAGE), "roi": roi}, 1e-4)


@pytest.mark.parametrize("target", [{"sizes": np.array([9, 4])}, {"scales": f32(0.7, 1.5)}], ids=str)
def test_along_axes_to_computed_targets(target: dict[str, Any]):
    (name, given), *_ = target.items()
    node = helper.make_node(
        "Resize", ["x", "", *([""] if name == "sizes" else []), "t"], ["y"], mode="linear", axes=[3, 2]
    )
    types = {"t": TensorProto.INT64} if name == "sizes" else {}
    model = model_of([node], {"x": FREE, "t": [2]}, opset=18, types=types)
    assert_agrees(model, {"x": random(*IMAGE), "t": given})


def test_gradients_reach_the_image():
    x = torch.randn(1, 1, 5, 4, dtype=torch.double, requires_grad=True)
    smooth: dict[str, Any] = {"mode": "cubic", "transform": "half_pixel", "exclude": 1, "antialias": 1}
    sizes, roi = torch.tensor([2, 3]), torch.tensor([0.1, -0.2, 0.8, 1.1])
    axes = {"axes": [2, 3]}
    assert torch.autograd.gradcheck(lambda x: resize.resize_to(x, sizes, **axes, **smooth), x)
    within: dict[str, Any] = {"policy": "not_larger", **axes, **smooth}
    assert torch.autograd.gradcheck(lambda x: fitted_resize.resize_within(x, sizes, **within), x)
    crop: dict[str, Any] = {"is_factor": 0, "extrapolation": 1.0, "mode": "linear", **axes}
    assert torch.autograd.gradcheck(lambda x: fitted_resize.crop_and_resize(x, sizes, roi, **crop), x)


FITTED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "antialias": (["", "", "sizes"], {"mode": "linear", "antialias": 1}),
    "policy": (["", "", "sides"], {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]}),
    "policy of all axes": (["", "", "sizes"], {"keep_aspect_ratio_policy": "not_smaller"}),
    "crop": (["roi", "", "sizes"], {"coordinate_transformation_mode": "tf_crop_and_resize"}),
    "crop along axes": (["box", "", "sides"], {"coordinate_transformation_mode": "tf_crop_and_resize", "axes": [2, 3]}),
    "crop by factors": (["roi", "scales"], {"coordinate_transformation_mode": "tf_crop_and_resize"}),
}


@pytest.mark.parametrize("name", FITTED)
def test_channels_pass_unless_they_may_be_resized_too(name: str):
    inputs, attributes = FITTED[name]
    constants = {"roi": f32(0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7), "box": f32(0.1, 0.2, 0.9, 0.7)}
    constants |= {"sizes": np.array([2, 8, 4, 3]), "sides": np.array([4, 3]), "scales": f32(1, 1, 1.2, 1.5)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Resize", ["a", *inputs], ["b"], **attributes),
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    used = {key: value for key, value in constants.items() if key in inputs}
    weights = {"w1": random(8, 3, 1, 1), "w2": random(4, 8, 1, 1)}
    network = native(model_of(nodes, {"x": IMAGE}, constants=weights | used, opset=18))
    channels = analyse(network)
    if name == "policy of all axes":
        assert "b interpolates along it" in locked_because(channels)
    else:
        compare_removal(network, channels.prunable()[[0, 3, 4]], {"x": random(*IMAGE)}, 1e-5)


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
