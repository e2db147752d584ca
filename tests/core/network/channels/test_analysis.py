"""The invariant: every occurrence of a unit zeroed = the unit removed; and a wrong unit shows."""

import io
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from torch import Tensor, nn

from core.network.channels import analyse
from core.network.channels.identities import Identities
from core.network.channels.surgery import remove_units, zero_units
from core.network.channels.units import Channels
from core.network.network import Network
from tests.core.network.invariants import compare_removal
from tests.core.network.models import model_of, random


def exported(architecture: Callable[[], nn.Module]) -> Network:
    """The module, random and in eval mode but with its batch norms unfolded, as a network."""
    return Network.from_proto(onnx.load_from_string(_exported(architecture)))


@cache
def _exported(architecture: Callable[[], nn.Module]) -> bytes:
    torch.manual_seed(0)
    module = architecture().eval()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                for name, tensor in (*part.named_parameters(), *part.named_buffers()):
                    if tensor.is_floating_point():
                        scaled = name in ("weight", "running_var")
                        tensor.uniform_(0.5, 1.5) if scaled else tensor.normal_(0.0, 0.5)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.randn(2, 3, 8, 8),),
            file,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,
        )
    return file.getvalue()


def outputs(network: Network, x: np.ndarray) -> np.ndarray:
    proto = network.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def conv(i: int, o: int, k: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2, bias=False, groups=groups), nn.BatchNorm2d(o), nn.SiLU())


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 8), nn.MaxPool2d(2), conv(8, 12))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12 * 16, 20), nn.Sigmoid(), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Residual(nn.Module):
    """An identity shortcut, one with a projection, and one padded with zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.c = conv(3, 8), conv(8, 8), conv(8, 16), conv(16, 24)
        self.project = nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.a(x))
        x = self.b(x) + self.project(x)
        x = self.c(x) + nn.functional.pad(x, (0, 0, 0, 0, 4, 4))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """Concatenations of concatenations, and a skip over an upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 6), conv(6, 4), conv(10, 4), conv(14, 7)
        self.up = nn.ConvTranspose2d(7, 5, 2, stride=2)
        self.head = nn.Conv2d(19, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        ab = torch.cat([a, self.b(a)], 1)
        abc = torch.cat([ab, self.c(ab)], 1)
        up = self.up(nn.functional.avg_pool2d(self.d(abc), 2))
        return self.head(torch.cat([up, abc], 1))


class Mobile(nn.Module):
    """Depthwise convolutions with squeeze and excitation, on a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.depthwise = conv(3, 8), conv(8, 24, 1), conv(24, 24, 3, groups=24)
        self.squeeze, self.excite = nn.Linear(24, 6), nn.Linear(6, 24)
        self.reduce, self.twice, self.head = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 16, 3, groups=8), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(self.expand(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3))))))
        x = x + self.reduce(y * gate[:, :, None, None])
        return self.head(torch.relu(self.twice(x)).mean((2, 3)))


class Grouped(nn.Module):
    """Groups must keep equally many channels, in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12, 1), conv(12, 24, 3, groups=3), conv(24, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x))).mean((2, 3)))


class Parts(nn.Module):
    """Split, slice, take, transpose and a constant along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12), conv(6, 6), conv(9, 9)
        self.scale = nn.Parameter(torch.rand(9, 1, 1) + 0.5)
        self.token = nn.Linear(9, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).split([6, 6], 1)
        y = torch.cat([self.b(left), right[:, 1:2], right[:, [4, 0]]], 1)
        y = self.c(y) * self.scale
        tokens = torch.relu(self.token(y.flatten(2).transpose(1, 2)))  # (n, places, 7)
        return self.head(tokens.mean(1))


class Steps(nn.Module):
    """Every second channel, a pixel shuffle and its inverse, copies, and a sum over channels that are 0 when cut."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12), conv(6, 8), conv(8, 6)
        self.gate, self.head = nn.Conv2d(18, 5, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x)[:, 1::2])
        x = self.c(nn.functional.pixel_unshuffle(nn.functional.pixel_shuffle(x, 2), 2))
        gate = torch.sigmoid(torch.relu(self.gate(x.repeat(1, 3, 1, 1))).sum(1, keepdim=True))
        return self.head((x * gate).mean((2, 3)).repeat(1, 2))


class Transposed(nn.Module):
    """Transposed convolutions: in groups, and each channel by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 8)
        self.up = nn.ConvTranspose2d(8, 12, 2, stride=2, groups=2)
        self.each = nn.ConvTranspose2d(12, 12, 2, groups=12)
        self.twice = nn.ConvTranspose2d(12, 24, 2, groups=12, bias=False)
        self.head = nn.Conv2d(24, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.twice(torch.tanh(self.each(torch.relu(self.up(self.a(x))))))))


class OneHead(nn.Module):
    """Attention without heads: what queries and keys are compared by can go, as one of them is 0 without it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 8)
        self.q, self.k, self.v = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).flatten(2).transpose(1, 2)
        scores = torch.relu(self.q(x)) @ torch.sigmoid(self.k(x)).transpose(1, 2)
        return self.head(torch.softmax(scores, -1) @ self.v(x))


class Shuffled(nn.Module):
    """A shuffle between grouped convolutions, and a split written as a reshape that goes through the batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12, 1), conv(12, 24, 1, groups=3), conv(24, 12, 1, groups=2)
        self.d, self.head = conv(6, 6), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        x = self.c(x.unflatten(1, (3, 8)).transpose(1, 2).flatten(1, 2))
        _, c, h, w = x.shape
        even, odd = x.reshape(-1, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)
        return self.head(torch.cat([even, self.d(odd)], 1).mean((2, 3)))


class Recurrent(nn.Module):
    """Two directions from a learned initial state, over the places of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.rnn, self.head = conv(3, 8), nn.LSTM(8, 10, bidirectional=True), nn.Linear(20, 5)
        self.h, self.c = nn.Parameter(torch.randn(2, 1, 10)), nn.Parameter(torch.randn(2, 1, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).flatten(2).permute(2, 0, 1)
        y, (h, _) = self.rnn(x, (self.h.repeat(1, x.shape[1], 1), self.c.expand(-1, x.shape[1], -1)))
        return self.head(y.mean(0) + torch.cat([h[0], h[1]], 1))


ARCHITECTURES = [Plain, Residual, Dense, Mobile, Grouped, Parts, Steps, Transposed, OneHead, Shuffled, Recurrent]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_removing_units_equals_zeroing_all_their_occurrences(architecture: Callable[[], nn.Module], seed: int) -> None:
    network = exported(architecture)
    channels = analyse(network)
    x = np.random.default_rng(seed).standard_normal((2, 3, 8, 8)).astype(np.float32)
    original = outputs(network, x)
    assert np.abs(original - outputs(network, x + 1)).max() > 1e-4, "the output must depend on the input"

    units = some_units(channels, seed)
    zeroed = Network.from_proto(network.to_proto())
    zero_units(zeroed, analyse(zeroed), units)
    remove_units(network, channels, units)

    assert weights_in(network) < weights_in(zeroed)
    np.testing.assert_allclose(outputs(network, x), outputs(zeroed, x), rtol=1e-4, atol=1e-5)
    assert np.abs(original - outputs(network, x)).max() > 1e-5, "the units must have mattered"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda kind: kind.__name__)
def test_removing_another_unit_than_was_zeroed_shows(architecture: Callable[[], nn.Module]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    count = len([group for group in analyse(exported(architecture)).groups if len(group.units) >= 6])
    assert max(difference(architecture, x, place) for place in range(count)) > 1e-4


def difference(architecture: Callable[[], nn.Module], x: np.ndarray, place: int) -> float:
    """Between zeroing the first and removing the second unit of a group of six or more."""
    network = exported(architecture)
    channels = analyse(network)
    group = [group for group in channels.groups if len(group.units) >= 6][place]
    zeroed = Network.from_proto(network.to_proto())
    per_part = [group.units[group.parts == part] for part in np.unique(group.parts)]
    zero_units(zeroed, analyse(zeroed), [part[0] for part in per_part])
    remove_units(network, channels, [part[1] for part in per_part])
    return float(np.abs(outputs(network, x) - outputs(zeroed, x)).max())


def some_units(channels: Channels, seed: int) -> np.ndarray:
    """A random third of what can go, as far as every balance allows; at least one."""
    rng = np.random.default_rng(seed)
    removed = np.zeros(channels.count, dtype=bool)
    for group in channels.groups:
        parts = [group.units[group.parts == part] for part in np.unique(group.parts)]
        least = min(len(part) for part in parts)
        count = max(least // 3, 1) if least > 1 else 0
        for part in parts:
            removed[rng.choice(part, count, replace=False)] = True
    removed = channels.balanced(removed)
    assert removed.any()
    return np.flatnonzero(removed)


def weights_in(network: Network) -> int:
    return sum(tensor.numel() for tensor in network.graph.parameters())


def test_a_network_pruned_everywhere_keeps_one_channel_of_each_layer() -> None:
    network = exported(Residual)
    channels = analyse(network)
    remove_units(network, channels, np.concatenate([group.units[1:] for group in channels.groups]))
    assert {layer.name: layer.out_channels for layer in network.layers(having="weight")}["head"] == 5
    assert outputs(network, np.ones((1, 3, 8, 8), np.float32)).shape == (1, 5)
    assert network.layer("stem.0").out_channels == 1


def test_inputs_and_outputs_of_the_model_are_locked_with_the_reason() -> None:
    network = exported(Plain)
    channels = analyse(network)
    last = network.layer("head.3")
    assert channels.lock_reason(str(last.node.target)) == "it is an output of the model"
    first = network.layer("body.0.0")
    assert channels.lock_reason(str(first.node.target)) is None
    axis = channels.output_axis(str(first.node.target))
    assert axis is not None
    assert set(axis.ids) <= set(channels.prunable())


def test_channels_that_are_added_share_a_fate() -> None:
    network = exported(Residual)
    channels = analyse(network)
    stem, a = (channels.output_axis(str(network.layer(name).node.target)) for name in ("stem.0", "a.0"))
    assert stem is not None
    assert a is not None
    assert stem.ids.tolist() == a.ids.tolist()


def test_a_depthwise_filter_goes_with_its_input_and_a_grouped_one_keeps_the_balance() -> None:
    network = exported(Grouped)
    channels = analyse(network)
    group = next(g for g in channels.groups if "a.0" in g.layers)
    assert sorted(np.bincount(group.parts)[np.unique(group.parts)]) == [4, 4, 4]
    lopsided = np.zeros(channels.count, dtype=bool)
    lopsided[group.units[:1]] = True
    assert not channels.balanced(lopsided).any()


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(0, 19))
def test_united_identities_are_the_connected_components(edges: list[tuple[int, int]], locked: int) -> None:
    identities = Identities()
    identities.fresh(20)
    for a, b in edges:
        identities.unite(np.array([a]), np.array([b]))
    identities.lock(np.array([locked]), "because")
    classes, locks = identities.resolve()

    component = list(range(20))
    for _ in range(20):
        for a, b in edges:
            component[a] = component[b] = min(component[a], component[b])
    for a in range(20):
        for b in range(20):
            assert (classes[a] == classes[b]) == (component[a] == component[b])
    assert locks == {int(classes[locked]): "because"}


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_the_places_of_a_channel_go_with_it(mode: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("SpaceToDepth", ["a"], ["b"], blocksize=2, mode=mode),
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    constants = {"w1": random(5, 3, 1, 1), "w2": random(2, 20, 1, 1)}
    network = Network.from_proto(model_of(nodes, {"x": ["n", 3, 4, 6]}, constants=constants, opset=28))
    compare_removal(network, analyse(network).prunable()[[0, 3]], {"x": random(2, 3, 4, 6)}, 1e-5)
