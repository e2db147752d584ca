"""Numbers that count channels outside of weights: sizes that are computed, and values that follow a cut."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

from core.network import Network
from core.network.channels import analyse
from tests.core.network.invariants import Subject, check_removal, compare_removal, locked_because, shares
from tests.core.network.models import model_of, random

node = helper.make_node


def test_sizes_computed_along_very_many_ways_are_followed_once() -> None:
    """Each of sixty nodes reads the two before it: as many ways lead to the input as the sixtieth Fibonacci number."""
    widest = [node("Max", [f"s{place}", f"s{place + 1}"], [f"s{place + 2}"]) for place in range(60)]
    model = model_of(
        [
            node("Conv", ["x", "first.weight"], ["a"]),
            node("Shape", ["x"], ["s0"]),
            node("Mul", ["s0", "s0"], ["s1"]),
            *widest,
            node("Cast", ["s61"], ["scale"], to=TensorProto.FLOAT),
            node("ReduceMean", ["scale"], ["mean"], keepdims=0),
            node("Mul", ["a", "mean"], ["b"]),
            node("Conv", ["b", "last.weight"], ["y"]),
        ],
        {"x": ["n", 3, 4, 4]},
        constants={"first.weight": random(4, 3, 1, 1), "last.weight": random(2, 4, 1, 1)},
    )
    subject = Subject(model, {"x": random(2, 3, 4, 4)})
    assert shares(analyse(Network.from_proto(model)))["first"] == 1.0
    check_removal(subject, 0)


class Shared(nn.Module):
    """Two layers add the same constant, which is expanded to the batch once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.offset = nn.Parameter(torch.randn(1, 4, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        bias = self.offset.expand(x.shape[0], -1, -1, -1)
        return self.last((self.second((self.first(x) + bias).relu()) + bias).relu())


class HeadsInBatch(nn.Module):
    """Attention that lays its heads along the batch, as `bmm` wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(3, 12) for _ in range(3))
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            layer(tokens).view(x.shape[0], -1, 3, 4).transpose(1, 2).reshape(x.shape[0] * 3, -1, 4)
            for layer in (self.q, self.k, self.v)
        )
        mixed = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return self.out(mixed.view(x.shape[0], 3, -1, 4).transpose(1, 2).reshape(x.shape[0], -1, 12))


class ScaledByWidth(HeadsInBatch):
    """Attention whose scale is computed from the width of a head."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens).view(x.shape[0], -1, 3, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scale = q.shape[-1] ** 0.5
        mixed = (q @ k.transpose(2, 3) / scale).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(x.shape[0], -1, 12))


class NormalisedApart(nn.Module):
    """Groups of one channel, which a reshape spreads over more places than it had."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)).relu())


class Subsampled(nn.Module):
    """Every other place of an image whose channels stand last, picked between two reshapes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2).relu()
        return self.last(tokens.view(-1, 8, 8, 4)[:, ::2, ::2].reshape(x.shape[0], -1, 4))


class Gated(nn.Module):
    """Three maps of a convolution's seven are spread over the other four."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 7, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        features, gates = self.first(x).split([4, 3], 1)
        return self.last(sum((features + 1).relu() * gates[:, place : place + 1] for place in range(3)))


def exported(architecture: type[nn.Module]) -> ModelProto:
    """The module as torch writes it for any number of images; NormalisedApart for images of any size too."""
    axes = {0: "batch", 2: "height", 3: "width"} if architecture is NormalisedApart else {0: "batch"}
    torch.manual_seed(0)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        torch.onnx.export(
            architecture().eval(),
            (torch.randn(1, 3, 8, 8),),
            file,  # pyright: ignore[reportArgumentType]  # this exporter takes a file as well as a path
            input_names=["x"],
            dynamic_axes={"x": axes},
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("architecture", [Shared, HeadsInBatch, ScaledByWidth, NormalisedApart, Subsampled])
@pytest.mark.parametrize("batch", [1, 3])
def test_sizes_that_count_more_than_channels_follow_a_cut(architecture: type[nn.Module], batch: int) -> None:
    """Every layer's filters can go but the last one's."""
    model = exported(architecture)
    *before, last = shares(analyse(Network.from_proto(model))).values()
    assert set(before) == {1.0}
    assert last == 0
    check_removal(Subject(model, {"x": random(batch, 3, 8, 8)}), 0)


def test_a_map_that_is_spread_over_others_stays() -> None:
    model = exported(Gated)
    assert list(shares(analyse(Network.from_proto(model))).values()) == [4 / 7, 0]
    for seed in range(3):
        check_removal(Subject(model, {"x": random(2, 3, 8, 8)}), seed)


class PackedHeads(nn.Module):
    """torch's own attention, whose packed projection is unpacked by the width of what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(3, 12), nn.Linear(12, 3)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(2).transpose(1, 2))
        return self.out(self.attention(tokens, tokens, tokens, need_weights=False)[0])


def test_a_split_by_the_width_of_another_value_goes_with_neither() -> None:
    subject = Subject(exported(PackedHeads), {"x": random(1, 3, 8, 8)})
    assert set(shares(analyse(Network.from_proto(subject.model))).values()) == {0.0, 1.0}
    remove_one_by_one(subject)


def measured(*nodes: onnx.NodeProto, **constants: Any) -> Subject:
    """Two convolutions of `x` (batch, 3, 4, 4), `a` of 8 channels and `b` of 16, and `width`, the size of `a`."""
    weights = {"a.weight": random(8, 3, 1, 1), "b.weight": random(16, 3, 1, 1), "y.weight": random(2, 8, 1, 1)}
    first = [
        node("Conv", ["x", "a.weight"], ["a"], "a"),
        node("Conv", ["x", "b.weight"], ["b"], "b"),
        node("Shape", ["a"], ["sizes"]),
        node("Slice", ["sizes", "from", "to"], ["row"]),
        node("ReduceSum", ["row"], ["width"]),  # so that inference gives up on it
        node("Shape", ["x"], ["batch"], start=0, end=1),
    ]
    last = [node("Conv", ["a", "y.weight"], ["y0"], "y"), node("Add", ["y0", "z"], ["y"])]
    places = {"from": [1], "to": [2]}
    numbers = {name: np.asarray(value) for name, value in (places | constants).items()}
    model = model_of([*first, *nodes, *last], {"x": ["n", 3, 4, 4]}, constants=weights | numbers)
    return Subject(model, {"x": random(2, 3, 4, 4)})


def remove_one_by_one(subject: Subject) -> None:
    """A unit of each group, alone."""
    network = Network.from_proto(subject.model)
    for group in analyse(network).groups:
        compare_removal(network, group.units[:1], subject.inputs(0))


def test_a_reshape_by_the_width_of_another_value_goes_with_neither() -> None:
    """(batch, 16, 4, 4) as (batch, 8, 2, 4, 4)."""
    subject = measured(
        node("Concat", ["batch", "width", "rest"], ["shape"], axis=0),
        node("Reshape", ["b", "shape"], ["parts"]),
        node("ReduceSum", ["parts", "axes"], ["z"], keepdims=0),
        rest=[2, 4, 4],
        axes=[1, 2],
    )
    remove_one_by_one(subject)
    subject = measured(
        node("Concat", ["batch", "width", "rest"], ["shape"], axis=0),
        node("Reshape", ["b", "shape"], ["parts"]),
        node("ReduceMax", ["parts"], ["most"], axes=[2], keepdims=0),
        node("Conv", ["most", "z.weight"], ["z"], "z"),
        rest=[2, 4, 4],
        **{"z.weight": random(2, 8, 1, 1)},
    )
    remove_one_by_one(subject)


def test_a_width_that_lays_out_the_input_goes_and_the_layout_stays() -> None:
    subject = measured(
        node("Concat", ["batch", "width", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["parts"]),
        node("ReduceMax", ["parts"], ["z"], axes=[1, 2, 3], keepdims=1),
        rest=[6, 1],
    )
    assert shares(analyse(Network.from_proto(subject.model)))["a"] == 1.0
    remove_one_by_one(subject)


def test_a_width_that_numbers_are_repeated_by_stays() -> None:
    subject = measured(
        node("Concat", ["batch", "one", "width", "one"], ["shape"], axis=0),
        node("Expand", ["number", "shape"], ["numbers"]),
        node("ReduceSum", ["numbers", "axes"], ["z"]),
        one=[1],
        number=np.full((1, 1, 1, 1), 0.5, np.float32),
        axes=[1, 2, 3],
    )
    assert locked_because(analyse(Network.from_proto(subject.model))) == {
        "it is an output of the model": {"y"},
        "numbers depends on its size": {"a"},
    }


def test_a_width_that_says_where_another_value_is_cut_moves_nothing() -> None:
    """The first eight of sixteen, by the width of what has eight."""
    subject = measured(
        node("Slice", ["b", "zero", "width", "one"], ["part"]),
        node("Conv", ["part", "z.weight"], ["z"], "z"),
        zero=[0],
        one=[1],
        **{"z.weight": random(2, 8, 1, 1)},
    )
    remove_one_by_one(subject)


def test_a_width_that_says_how_many_are_taken_stays() -> None:
    """The eight largest of the input's numbers."""
    subject = measured(
        node("Flatten", ["x"], ["numbers"]),
        node("TopK", ["numbers", "width"], ["largest", "places"]),
        node("ReduceSum", ["largest", "one"], ["sum"]),
        node("Reshape", ["sum", "image"], ["z"]),
        one=[1],
        image=[-1, 1, 1, 1],
    )
    assert locked_because(analyse(Network.from_proto(subject.model))) == {
        "it is an output of the model": {"y"},
        "largest depends on its size": {"a"},
    }


@pytest.mark.parametrize("way", ["Range", "OneHot", "Mod", "Equal"])
def test_a_width_that_any_other_number_is_computed_from_stays(way: str) -> None:
    nodes = {
        "Range": [node("Range", ["zero", "number", "step"], ["places"]),
                  node("Gather", ["flat", "places"], ["g"], axis=1)],
        "OneHot": [node("OneHot", ["place", "number", "levels"], ["hot"]), node("Expand", ["hot", "all"], ["g"])],
        "Mod": [node("Mod", ["number", "three"], ["place3"]), node("Gather", ["flat", "place3"], ["g0"], axis=1),
                node("Unsqueeze", ["g0", "one"], ["g"])],
        "Equal": [node("Equal", ["number", "eight"], ["is8"]), node("Where", ["is8", "flat", "other"], ["g"])],
    }  # fmt: skip
    subject = measured(
        node("Squeeze", ["width"], ["number"]),
        node("Flatten", ["x"], ["flat"]),
        *nodes[way],
        node("ReduceSum", ["g", "one"], ["sum"]),
        node("Reshape", ["sum", "image"], ["z"]),
        zero=0,
        step=1,
        three=3,
        eight=8,
        one=[1],
        place=[2],
        levels=np.float32([0, 1]),
        all=[1, 8],
        other=np.float32(2),
        image=[-1, 1, 1, 1],
    )
    channels = analyse(Network.from_proto(subject.model))
    assert shares(channels)["a"] == 0.0
    assert any(reason.endswith(" depends on its size") for reason in channels.locked.values())


def test_zeros_like_another_value_are_cut_with_it() -> None:
    subject = measured(
        node("Cast", ["sizes"], ["shape"], to=TensorProto.INT64),
        node("ConstantOfShape", ["shape"], ["zeros"]),
        node("Sub", ["zeros", "half"], ["least"]),
        node("Max", ["a", "least"], ["most"]),
        node("Conv", ["most", "z.weight"], ["z"], "z"),
        half=np.float32(0.5),
        **{"z.weight": random(2, 8, 1, 1)},
    )
    assert shares(analyse(Network.from_proto(subject.model)))["a"] == 1.0
    check_removal(subject, 0)


def test_a_single_number_that_is_joined_to_a_channel_holds_it() -> None:
    model = model_of(
        [
            node("MatMul", ["x", "a.weight"], ["a"]),
            node("ReduceMean", ["x"], ["mean"], keepdims=0),
            node("Reshape", ["mean", "matrix"], ["row"]),
            node("Concat", ["a", "row"], ["rows"], axis=0),
            node("MatMul", ["rows", "y.weight"], ["y"]),
        ],
        {"x": ["n", 3]},
        constants={"a.weight": random(3, 1), "y.weight": random(1, 2), "matrix": np.array([1, 1])},
    )
    assert shares(analyse(Network.from_proto(model))) == {"a": 0.0, "y": 0.0}
