"""What detectors have behind their layers, against onnxruntime: windows of an image, and which boxes stay."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from core.network.channels import analyse
from core.network.network import Network
from core.network.ops.roi_align import roi_align
from modelpress.problem import StepError
from tests.core.network.agreement import assert_agrees, in_torch, native
from tests.core.network.invariants import (
    Subject,
    check_neighbours_show,
    check_removal,
    locked_because,
    shares,
)
from tests.core.network.models import model_of, random, run_onnx

IMAGE = (2, 3, 6, 9)

quickly = settings(max_examples=60, deadline=None, derandomize=True)


def windows(count: int, seed: int) -> np.ndarray:
    """Some reach beyond the image, some are narrow, some have their corners the wrong way round."""
    corners = np.random.default_rng(seed).uniform(-4, 24, (count, 4))
    corners[::2] = np.sort(corners[::2].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return corners.astype(np.float32)


def aligning(count: int, opset: int, **attributes: Any) -> ModelProto:
    node = helper.make_node("RoiAlign", ["x", "r", "i"], ["y"], **attributes)
    shapes = {"x": IMAGE, "r": (count, 4), "i": (count,)}
    return model_of([node], shapes, opset=opset, types={"i": TensorProto.INT64})


@quickly
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 5),
    opset=st.sampled_from([10, 16]),
    is_half=st.booleans(),
    mode=st.sampled_from(["avg", "max"]),
    samples=st.integers(0, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    scale=st.sampled_from([1.0, 0.25, 0.3]),
)
def test_windows_of_an_image(
    seed: int, count: int, opset: int, is_half: bool, mode: str, samples: int, size: tuple[int, int], scale: float
):
    attributes: dict[str, Any] = {"mode": mode, "output_height": size[0], "output_width": size[1]}
    attributes |= {"sampling_ratio": samples, "spatial_scale": scale}
    if opset >= 16:
        attributes["coordinate_transformation_mode"] = "half_pixel" if is_half else "output_half_pixel"
    images = np.random.default_rng(seed).integers(0, 2, count)
    inputs = {"x": random(*IMAGE, seed=seed), "r": windows(count, seed), "i": images}
    assert_agrees(aligning(count, opset, **attributes), inputs)


def test_a_window_s_gradient_is_right():
    x = torch.from_numpy(random(2, 2, 5, 6)).double().requires_grad_()
    boxes = torch.tensor([[0.3, 0.4, 3.7, 4.2], [-2.0, 1.1, 2.3, 7.9]], dtype=torch.float64, requires_grad=True)

    def aligned(x: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        literals: dict[str, Any] = {"height": 2, "width": 3, "samples": 2, "scale": 0.9, "half_pixel": 1}
        return roi_align(x, boxes, torch.tensor([1, 0]), mode="avg", **literals)

    assert torch.autograd.gradcheck(aligned, (x, boxes))


def test_windows_that_are_no_numbers_leave_the_others_as_they_are():
    """As a training that diverges makes them."""
    x, boxes = torch.from_numpy(random(1, 2, 5, 6)), torch.tensor([[0.0, 1.0, 4.0, 3.0], [torch.nan, 0.0, 2.0, 2.0]])
    literals: dict[str, Any] = {"height": 2, "width": 2, "samples": 0, "scale": 1.0, "half_pixel": 1}
    both = roi_align(x, boxes, torch.tensor([0, 0]), mode="avg", **literals)
    alone = roi_align(x, boxes[:1], torch.tensor([0]), mode="avg", **literals)
    assert torch.equal(both[:1], alone)
    assert not both[1].any()


def suppressing(boxes: int, classes: int, given: dict[str, np.ndarray], **attributes: Any) -> ModelProto:
    """The optional inputs in `given` are constants; those that are not are inputs of the model."""
    names = ["b", "s", "most", "overlap", "least"]
    node = helper.make_node("NonMaxSuppression", names, ["y"], **attributes)
    shapes = {"b": (2, boxes, 4), "s": (2, classes, boxes), "most": (1,), "overlap": (1,), "least": (1,)}
    types = {"y": TensorProto.INT64, "most": TensorProto.INT64}
    return model_of([node], {k: v for k, v in shapes.items() if k not in given}, constants=given, opset=11, types=types)


@quickly
@given(
    seed=st.integers(0, 1000),
    boxes=st.integers(0, 30) | st.integers(100, 400),
    classes=st.integers(1, 3),
    is_coarse=st.booleans(),
    centered=st.sampled_from([0, 1]),
    most=st.sampled_from([0, 1, 3, 2**62]),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    least=st.sampled_from([-10.0, 0.0, 0.5, 9.0]),
    constant=st.sets(st.sampled_from(["most", "overlap", "least"])),
)
def test_the_boxes_that_stay(
    seed: int,
    boxes: int,
    classes: int,
    is_coarse: bool,
    centered: int,
    most: int,
    overlap: float,
    least: float,
    constant: set[str],
):
    """Coarse ones have equal scores, equal boxes and overlaps of just as much as is allowed."""
    places, scores = random(2, boxes, 4, seed=seed), random(2, classes, boxes, seed=seed + 1)
    if is_coarse:
        places, scores = np.round(places), np.round(scores)
    given = {"most": np.array([most])}
    given |= {name: np.array([x], np.float32) for name, x in (("overlap", overlap), ("least", least))}
    model = suppressing(boxes, classes, {k: v for k, v in given.items() if k in constant}, center_point_box=centered)
    inputs = {"b": places, "s": scores, **{k: v for k, v in given.items() if k not in constant}}
    (expected,) = run_onnx(model, inputs)
    (found,) = in_torch(assert_agrees(model, inputs), inputs)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_thresholds_may_be_left_out(count: int):
    given: dict[str, Any] = {"most": np.array(4), "overlap": np.float32(0.3), "least": np.float32(0.1)}
    names = list(given)[: count - 2]
    node = helper.make_node("NonMaxSuppression", ["b", "s", *names], ["y"])
    shapes, constants = {"b": (1, 12, 4), "s": (1, 2, 12)}, {name: given[name] for name in names}
    model = model_of([node], shapes, constants=constants, opset=11, types={"y": TensorProto.INT64})
    inputs = {"b": random(1, 12, 4), "s": random(1, 2, 12, seed=1)}
    (expected,) = run_onnx(model, inputs)
    assert len(expected) == (0 if count == 2 else len(expected))
    assert in_torch(native(model), inputs)[0].tolist() == expected.tolist()


def detecting(mode: str = "avg", *, is_computed: bool = False, is_picked: bool = False) -> ModelProto:
    """A convolution, windows of what it gives, a convolution of each window, a matrix.

    Args:
        is_computed: whether a layer computes the windows, of which there are two.
        is_picked: whether only windows of which another layer says so go on.
    """
    shapes = {"v": (8, 3, 3, 3), "w": (6, 8, 3, 3), "h": (24, 5), "k": (3, 4)}
    constants: dict[str, Any] = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}
    constants |= {"i": np.array([0, 1]), "r": np.array([[1, 0, 6, 5], [0.5, 2, 9, 7]], np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
        helper.make_node("Flatten", ["g"], ["l"]),
        helper.make_node("Gemm", ["l", "k"], ["d"]),
        helper.make_node("Add", ["d", "r"], ["s"]),
        helper.make_node(
            "RoiAlign", ["a", "s" if is_computed else "r", "i"], ["p"], output_height=4, output_width=4, mode=mode
        ),
        helper.make_node("Conv", ["p", "w"], ["q"]),
        helper.make_node("ReduceMax", ["d"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node("Compress", ["q", "c"], ["t"], axis=0),
        helper.make_node("Flatten", ["t" if is_picked else "q"], ["f"]),
        helper.make_node("Gemm", ["f", "h"], ["y"]),
    ]
    return model_of(nodes, {"x": (2, 3, 8, 8)}, constants=constants, opset=16)


EXAMPLE = {"x": random(2, 3, 8, 8)}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(3))
def test_channels_go_through_windows(mode: str, seed: int):
    subject = Subject(detecting(mode), EXAMPLE)
    assert set(shares(analyse(Network.from_proto(subject.model))).values()) == {1.0, 0.0}
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


def test_what_says_where_the_windows_are_stays():
    model = detecting(is_computed=True)
    reasons = locked_because(analyse(Network.from_proto(model)))
    assert reasons["it says where p reads"] == {"Gemm_0"}
    check_removal(Subject(model, EXAMPLE), 0)


@pytest.mark.parametrize("seed", range(3))
def test_channels_go_through_what_a_condition_keeps(seed: int):
    subject = Subject(detecting(is_picked=True), EXAMPLE)
    channels = analyse(Network.from_proto(subject.model))
    assert locked_because(channels)["m reduces it"] == {"Gemm_0"}
    assert shares(channels) == {"Conv_0": 1.0, "Gemm_0": 0.0, "Conv_1": 1.0, "Gemm_1": 0.0}
    check_removal(subject, seed)
    check_neighbours_show(subject, seed)


def finding(least: float, batch: int | str = "n") -> ModelProto:
    """A detector of two stages: a layer gives boxes, another their scores; the best are read from the image."""
    shapes = {"v": (8, 3, 3, 3), "f": (4, 8, 1, 1), "g": (1, 8, 1, 1), "w": (6, 8, 3, 3), "h": (24, 5)}
    constants: dict[str, Any] = {name: random(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}
    numbers = {"most": [1000], "first": [0], "both": [0, 2], "at1": [1], "four": [0, 4, -1], "one": [0, 1, -1]}
    constants |= {name: np.array(values) for name, values in numbers.items()}
    constants |= {"overlap": np.float32(0.1), "least": np.float32(least)}
    window: dict[str, Any] = {"output_height": 4, "output_width": 4, "sampling_ratio": 2}
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "f"], ["b"]),
        helper.make_node("Reshape", ["b", "four"], ["c"]),
        helper.make_node("Transpose", ["c"], ["boxes"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["a", "g"], ["d"]),
        helper.make_node("Reshape", ["d", "one"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["kept"]),
        helper.make_node("Gather", ["kept", "first"], ["e"], axis=1),
        helper.make_node("Squeeze", ["e", "at1"], ["images"]),
        helper.make_node("Gather", ["kept", "both"], ["places"], axis=1),
        helper.make_node("GatherND", ["boxes", "places"], ["found"]),
        helper.make_node("RoiAlign", ["a", "found", "images"], ["p"], **window),
        helper.make_node("Conv", ["p", "w"], ["q"]),
        helper.make_node("Flatten", ["q"], ["l"]),
        helper.make_node("Gemm", ["l", "h"], ["y"]),
    ]
    return model_of(nodes, {"x": (batch, 3, 8, 8)}, ("y", "found"), constants, opset=16)


def test_a_detector_is_native_from_end_to_end_and_its_trunk_and_head_can_be_cut():
    subject = Subject(finding(0.5), EXAMPLE)
    network = assert_agrees(subject.model, subject.inputs(0), 1e-4)
    assert len(in_torch(network, subject.inputs(0))[0]) > 2
    reasons = locked_because(analyse(network))
    assert reasons["kept gives no way to cut it"] == {"Conv_1", "Conv_2"}
    assert shares(analyse(network)) == {"Conv_0": 1.0, "Conv_1": 0.0, "Conv_2": 0.0, "Conv_3": 1.0, "Gemm_0": 0.0}
    for seed in range(3):
        check_removal(subject, seed)


def test_a_detector_that_finds_nothing_in_noise_has_the_same_channels():
    nothing, something = Network.from_proto(finding(1e9)), Network.from_proto(finding(0.5))
    assert len(in_torch(nothing, EXAMPLE)[0]) == 0
    assert shares(analyse(nothing)) == shares(analyse(something))


@pytest.mark.parametrize("batch", [1, "n"])
def test_a_batch_of_samples_with_differing_finds_is_refused_with_the_reason(batch: int | str):
    with pytest.raises(StepError, match="depends on the sample, so that no batch can be made of y, found"):
        Network.from_proto(finding(0.5, batch)).train_graph()


def test_a_window_of_no_width_has_a_finite_gradient():
    """It is read nowhere where its size says how often."""
    windows = torch.tensor([[2.0, 2, 2, 2], [1, 1, 5, 4]], requires_grad=True)
    literals: dict[str, Any] = {"mode": "avg", "height": 2, "width": 3, "samples": 0, "scale": 1.0, "half_pixel": 1}
    y = roi_align(torch.from_numpy(random(1, 3, 6, 7)), windows, torch.zeros(2), **literals)
    (gradient,) = torch.autograd.grad(y.sum(), [windows])
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() > 0
