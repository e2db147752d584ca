"""Pad, Split and Slice by numbers that are computed: from sizes, or given as inputs; against onnxruntime."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

from core.network import Network
from core.network.channels import analyse
from core.network.channels.identities import unit_mask
from core.network.ops import padding, shape
from tests.core.network.agreement import assert_agrees, native
from tests.core.network.invariants import Subject, check_removal, compare_removal, locked_because
from tests.core.network.models import model_of, random

INT64 = TensorProto.INT64
SHAPE = (2, 3, 5, 6)
quickly = settings(max_examples=40, deadline=None, derandomize=True)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def of_inputs(op: str, given: dict[str, np.ndarray], opset: int = 19, outputs: Any = ("y",), **attributes: Any) -> None:
    """One node of which everything is an input of the model; sizes of `x` are free."""
    names = [name if name in given else "" for name in ("x", "a", "b", "c", "d")][
        : 1 + max("xabcd".index(n) for n in given)
    ]
    shapes = {name: array.shape if name != "x" else ("n", "c", "h", "w") for name, array in given.items()}
    types = {name: INT64 for name, array in given.items() if array.dtype == np.int64}
    node = helper.make_node(op, names, list(outputs), **attributes)
    assert_agrees(model_of([node], shapes, outputs, opset=opset, types=types), given)


def test_a_slice_at_short_integers():
    """Which the literals beside them must match."""
    numbers = {"s": np.array([1, -2], np.int32), "e": np.array([3, 9], np.int32)}
    types: dict[str, int] = dict.fromkeys(numbers, TensorProto.INT32)
    model = model_of([helper.make_node("Slice", ["x", *numbers], ["y"])], {"x": SHAPE, "s": [2], "e": [2]}, types=types)
    assert_agrees(model, {"x": random(*SHAPE), **numbers})


# Pad


@st.composite
def pads(draw: st.DrawFn) -> list[int]:
    """Sizes before and after each axis, so that onnxruntime finds enough left to reflect."""
    ranges = [st.integers(0, 1), st.integers(0, 2), st.integers(-1, 3), st.integers(-2, 3)]
    return [draw(number) for number in ranges * 2]


@quickly
@given(sizes=pads(), mode=st.sampled_from(padding.MODES), value=st.sampled_from([None, 0.0, 1.5]))
def test_pads_that_are_inputs(sizes: list[int], mode: str, value: float | None):
    filler = {} if value is None else {"b": np.array(value, np.float32)}
    of_inputs("Pad", {"x": random(*SHAPE), "a": ints(*sizes), **filler}, mode=mode)


@pytest.mark.parametrize("axes", [(3,), (-2, -1), (2, 0)])
@pytest.mark.parametrize("mode", padding.MODES)
def test_pads_along_axes_that_are_inputs(mode: str, axes: tuple[int, ...]):
    of_inputs(
        "Pad", {"x": random(*SHAPE), "a": ints(*range(1, 2 * len(axes) + 1))[::-1] % 3, "c": ints(*axes)}, mode=mode
    )


def test_integers_are_padded_with_an_integer():
    node = helper.make_node("Pad", ["x", "p", "v"], ["y"])
    types: dict[str, int] = {"x": TensorProto.INT32, "y": TensorProto.INT32}
    constants = {"p": ints(1, 0, 0, 2), "v": np.array(-7, np.int32)}
    model = model_of([node], {"x": [2, 3]}, constants=constants, types=types)
    assert_agrees(model, {"x": np.arange(6, dtype=np.int32).reshape(2, 3)})


def test_gradients_reach_what_is_padded_and_what_it_is_padded_with():
    x = torch.randn(2, 3, 4, dtype=torch.double, requires_grad=True)
    value = torch.tensor(0.5, dtype=torch.double, requires_grad=True)
    pads = torch.tensor([0, -1, 2, 1, 0, 1])
    for mode in padding.MODES:
        assert torch.autograd.gradcheck(lambda x, v, mode=mode: padding.pad_by(x, pads, v, None, mode=mode), (x, value))


# Split and Slice


@quickly
@given(axis=st.integers(-4, 3), first=st.integers(0, 2), second=st.integers(0, 1))
def test_sizes_of_parts_that_are_inputs(axis: int, first: int, second: int):
    sizes = ints(first, second, SHAPE[axis] - first - second) if SHAPE[axis] >= 3 else ints(0, 1, 1)
    of_inputs("Split", {"x": random(*SHAPE), "a": sizes}, outputs=("y", "z", "w"), axis=axis)


@pytest.mark.parametrize(
    ("opset", "axis", "count"), [(13, 3, 3), (13, -4, 2), (18, 3, 3), (18, -2, 3), (18, 2, 2), (11, 3, 2)]
)
def test_even_parts_of_an_axis_of_any_size(opset: int, axis: int, count: int):
    outputs = [f"y{k}" for k in range(count)]
    attributes = {"num_outputs": count} if opset >= 18 else {}
    of_inputs("Split", {"x": random(*SHAPE)}, opset, outputs, axis=axis, **attributes)


@st.composite
def slices(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Start, end, axis and step of some axes."""
    axes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
    number = st.integers(-8, 8)
    return [(draw(number), draw(number), axis, draw(st.sampled_from([1, 2, -1, -3]))) for axis in axes]


@quickly
@given(cuts=slices())
def test_slices_that_are_inputs(cuts: list[tuple[int, int, int, int]]):
    starts, ends, axes, steps = (ints(*numbers) for numbers in zip(*cuts, strict=True))
    of_inputs("Slice", {"x": random(*SHAPE), "a": starts, "b": ends, "c": axes, "d": steps})


@pytest.mark.parametrize("count", [1, 2, 4])
def test_slices_of_the_first_axes(count: int):
    of_inputs("Slice", {"x": random(*SHAPE), "a": ints(0, 1, -2, 4)[:count], "b": ints(2, 9, -1, -1)[:count]})


def test_gradients_reach_what_parts_are_taken_of():
    x = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    a, b, axes, steps = (torch.tensor(numbers) for numbers in ([0, -1], [3, 0], [0, 1], [2, -2]))
    assert torch.autograd.gradcheck(lambda x: shape.slice_at(x, a, b, axes, steps), x)
    assert torch.autograd.gradcheck(lambda x: shape.split_by(x, torch.tensor([1, 4]), axis=1, count=2), x)
    assert torch.autograd.gradcheck(lambda x: shape.split_evenly(x, axis=1, count=2), x)


# as exporters write it


class PadsToEven(nn.Module):
    """Images of odd sides are padded between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, stride=2), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        x = nn.functional.pad(x, (0, x.shape[3] % 2, 1, 1 + x.shape[2] % 2))
        return self.head(self.b(x).mean((2, 3)))


class Halves(nn.Module):
    """A gate over the two halves of the channels, cut at a computed size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, 1)
        return self.b(left * torch.sigmoid(right)).mean((2, 3))


def exported(module: nn.Module) -> ModelProto:
    torch.manual_seed(0)
    file = io.BytesIO()
    axes = {"x": {0: "n", 2: "h", 3: "w"}, "y": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.randn(2, 3, 9, 8),),
            file,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("sides", [(9, 8), (8, 9), (10, 12)])
def test_pads_that_torch_computes_from_sizes(sides: tuple[int, int]):
    model = exported(PadsToEven())
    assert {"Pad", "Mod"} <= {node.op_type for node in model.graph.node} or "Pad" in {
        n.op_type for n in model.graph.node
    }
    network = assert_agrees(model, {"x": random(2, 3, *sides)})
    assert any(node.target is padding.pad_by for node in network.graph.graph.nodes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("architecture", [PadsToEven, Halves])
def test_channels_are_cut_through_computed_parts(architecture: type[nn.Module], seed: int):
    check_removal(Subject(exported(architecture()), {"x": random(2, 3, 9, 7)}), seed)


# channels


def between(nodes: list[Any], constants: dict[str, Any], wide: int = 6, **inputs: Any) -> Network:
    """`nodes` make `b` of `a`, between a convolution to 6 channels and one of `wide`."""
    made = [helper.make_node("Conv", ["x", "w1"], ["a"]), *nodes, helper.make_node("Conv", ["b", "w2"], ["y"])]
    weights = {"w1": random(6, 3, 1, 1), "w2": random(4, wide, 1, 1)}
    shapes = {"x": ("n", 3, "h", "w"), **inputs}
    model = model_of(made, shapes, constants=weights | constants, opset=18, types=dict.fromkeys(inputs, INT64))
    return native(model)


def veiled(name: str) -> list[Any]:
    """Nodes that make `veiled` of a value: it is the same, but what its sizes are shows only when it runs."""
    return [
        helper.make_node("Shape", ["x"], ["sides"]),
        helper.make_node("Mul", ["sides", "zero"], ["nothing"]),
        helper.make_node("Concat", ["nothing", "nothing"], ["no_pads"], axis=0),
        helper.make_node("Pad", [name, "no_pads"], ["veiled"]),
        helper.make_node("Shape", ["veiled"], ["all"]),
        helper.make_node("Gather", ["all", "one"], ["channels"]),
    ]


NUMBERS = {"zero": ints(0), "one": ints(1), "five": ints(5), "end": ints(99)}


def test_channels_do_not_pass_pads_that_are_inputs():
    nodes = [helper.make_node("Mul", ["p", "zero"], ["q"]), helper.make_node("Pad", ["a", "q"], ["b"])]
    network = between(nodes, {"zero": ints(0)}, p=[8])
    assert set(locked_because(analyse(network))) == {"it is an output of the model", "b pads it by computed sizes"}


@pytest.mark.parametrize("is_by_channels", [False, True])
def test_channels_are_locked_where_pads_are_computed_from_their_number(is_by_channels: bool):
    """Rows are padded by the number of channels, or by 5."""
    pads = ["zero", "zero", "channels" if is_by_channels else "five", *["zero"] * 5]
    nodes = [
        *veiled("a"),
        helper.make_node("Concat", pads, ["pads"], axis=0),
        helper.make_node("Pad", ["veiled", "pads"], ["b"]),
    ]
    used = {name: number for name, number in NUMBERS.items() if name in {part for n in nodes for part in n.input}}
    network = between(nodes, used)
    assert ("b pads it by computed sizes" in locked_because(analyse(network))) == is_by_channels


@pytest.mark.parametrize("count", [2, 3])
def test_even_parts_of_channels_lose_equally_many(count: int):
    parts = [f"p{k}" for k in range(count)]
    nodes = [
        *veiled("a")[:4],
        helper.make_node("Split", ["veiled"], parts, axis=1, num_outputs=count),
        helper.make_node("Concat", parts[::-1], ["b"], axis=1),
    ]
    network = between(nodes, {"zero": ints(0)})
    assert any(node.target is shape.split_evenly for node in network.graph.graph.nodes)
    channels = analyse(network)
    first = unit_mask(channels.prunable()[:1], channels.count)
    assert not channels.balanced(first).any()
    compare_removal(network, channels.prunable()[:: 6 // count], {"x": random(2, 3, 4, 5)}, 1e-5)


def test_parts_of_sizes_that_are_the_same_in_every_run_follow_a_cut():
    nodes = [
        *veiled("a")[:2],
        helper.make_node("Add", ["nothing", "parts"], ["sizes"]),
        helper.make_node("Split", ["a", "sizes"], ["p", "q", "r", "s"], axis=1),
        helper.make_node("Concat", ["r", "q", "s", "p"], ["b"], axis=1),
    ]
    network = between(nodes, {"zero": ints(0), "parts": ints(1, 3, 1, 1)})
    assert any(node.target is shape.split_by for node in network.graph.graph.nodes)
    channels = analyse(network)
    assert len(channels.prunable()) == 6
    for units in ([1], [2, 3], [0, 4]):
        compare_removal(network, channels.prunable()[units], {"x": random(2, 3, 4, 5)}, 1e-5)


def test_channels_that_are_split_by_their_number_are_locked():
    nodes = [
        *veiled("a"),
        helper.make_node("Div", ["channels", "two"], ["half"]),
        helper.make_node("Concat", ["half", "half"], ["sizes"], axis=0),
        helper.make_node("Split", ["a", "sizes"], ["p", "q"], axis=1),
        helper.make_node("Concat", ["q", "p"], ["b"], axis=1),
    ]
    network = between(nodes, {"zero": ints(0), "one": ints(1), "two": ints(2)})
    assert any("cuts it at computed places" in reason for reason in locked_because(analyse(network)))


def test_channels_that_are_sliced_by_inputs_are_locked():
    network = between(
        [helper.make_node("Slice", ["a", "zero", "end", "k"], ["b"])], {"zero": ints(0), "end": ints(99)}, k=[1]
    )
    assert "b cuts it at computed places" in locked_because(analyse(network))
