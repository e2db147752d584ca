"""What is saved is data, and what is loaded trains on as if nothing had happened."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from core.formulas import AffineInt8, BiasInt32, Codebook, Masked, attach
from core.network import Network
from core.quantizers.activation import ActivationQuantizer
from core.quantizers.links import link_biases
from modelpress.problem import ModelError
from tests.core.network.models import export_small_net, model_of, random

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small_net(tmp_path_factory.mktemp("net") / "net.onnx")


def plain(network: Network) -> None:
    """As it was read."""


def with_replaced_layer(network: Network) -> None:
    first, second = nn.Linear(16, 4, bias=False), nn.Linear(4, 12)
    network.replace(network.layer("fc1"), {"first": first, "second": second})


def with_formulas(network: Network) -> None:
    fc1, conv = network.layer("fc1"), network.layer("block1.conv1")
    fc1.reparametrise(Masked(fc1.weight.abs() > 0.1))
    conv.reparametrise(Codebook(8))
    network.layer("stem").reparametrise(AffineInt8())


def with_quantisers(network: Network) -> None:
    module = ActivationQuantizer(signed=False)
    with torch.no_grad():
        module.scale.fill_(16 / 255)
        module.zero_point.fill_(128)
    network.insert_after("x", module)
    network.insert_after("y", module)


def with_integers(network: Network) -> None:
    """Weights, activations and a bias whose step follows the scales of both."""
    with_quantisers(network)
    layer = network.layer("stem")
    layer.reparametrise(AffineInt8(integer_kernels=True))
    bias = BiasInt32(layer.formula.scale * 16 / 255)
    bias.fit(layer.bias)
    attach(layer.module, bias, "bias")
    link_biases(network.graph)


CHANGES: list[Callable[[Network], None]] = [plain, with_replaced_layer, with_formulas, with_quantisers, with_integers]


def train(network: Network, steps: int = 3) -> dict[str, torch.Tensor]:
    """A few steps of momentum; returns what was learned, by name."""
    generator = torch.Generator().manual_seed(5)
    optimiser = torch.optim.SGD(network.graph.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        network.graph(torch.randn(4, 3, 16, 16, generator=generator))[0].square().mean().backward()
        optimiser.step()
    return {name: parameter.detach() for name, parameter in network.graph.named_parameters()}


@pytest.mark.parametrize("change", CHANGES)
def test_trains_on_identically(path: Path, tmp_path: Path, change: Callable[[Network], None]):
    network = Network.from_onnx(path)
    change(network)
    train(network)
    network.save(tmp_path)
    loaded, twin = Network.load(tmp_path), Network.load(tmp_path)
    x = torch.from_numpy(random(2, 3, 16, 16))
    assert torch.equal(loaded.graph(x)[0], network.graph(x)[0])
    assert [layer.name for layer in loaded.layers()] == [layer.name for layer in network.layers()]
    expected = train(network)
    for found in (train(loaded), train(twin)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_nothing_saved_is_a_pickle(path: Path, tmp_path: Path):
    network = Network.from_onnx(path)
    with_formulas(network)
    network.save(tmp_path)
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {"network.onnx", "formulas.json", "quantizers.json", "tensors.safetensors", "layers.json"}
    assert not any(file.read_bytes().startswith((b"\x80", b"PK")) for file in tmp_path.iterdir())


def test_masters_of_half_precision_are_kept_in_single(tmp_path: Path):
    node = helper.make_node("Gemm", ["x", "fc.weight"], ["y"], transB=1)
    half = {"x": TensorProto.FLOAT16, "y": TensorProto.FLOAT16}
    constants = {"fc.weight": random(4, 5).astype(np.float16)}
    network = Network.from_proto(model_of([node], {"x": ["n", 5]}, constants=constants, types=half))
    with torch.no_grad():
        network.layer("fc").weight.add_(1e-5)
    network.save(tmp_path)
    assert torch.equal(Network.load(tmp_path).layer("fc").weight, network.layer("fc").weight)


def test_a_tied_formula_is_one_formula_again(tmp_path: Path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1, name="one"),
        helper.make_node("Gemm", ["h", "w"], ["y"], transB=1, name="two"),
    ]
    network = Network.from_proto(model_of(nodes, {"x": ["n", 5]}, constants={"w": random(5, 5)}))
    network.layer("one").reparametrise(AffineInt8())
    network.save(tmp_path)
    loaded = Network.load(tmp_path)
    assert loaded.layer("one").formula is loaded.layer("two").formula is not None


def saved(path: Path, folder: Path) -> Path:
    network = Network.from_onnx(path)
    with_formulas(network)
    with_quantisers(network)
    network.save(folder)
    return folder


def edit(file: Path, change: Callable[[list], object]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("formulas.json", lambda data: data[0]["layers"].append(["ghost", "weight"])),
        ("formulas.json", lambda data: data[0]["layers"].append(["fc2", "weight"])),
        ("formulas.json", lambda data: data[0]["layers"].append(["fc1", "__class__"])),
        ("formulas.json", lambda data: data[0]["formula"].update(kind="evil")),
        ("formulas.json", lambda data: data[0].pop("formula")),
        ("quantizers.json", lambda data: data[0]["values"].append("ghost")),
        ("quantizers.json", lambda data: data[0].update(quantizer=3)),
        ("layers.json", lambda data: data[0].update(value="ghost")),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(path: Path, tmp_path: Path, file: str, change):
    saved(path, tmp_path)
    edit(tmp_path / file, change)
    with pytest.raises(ModelError):
        Network.load(tmp_path)


@pytest.mark.parametrize("file", ["network.onnx", "formulas.json", "tensors.safetensors", "layers.json"])
def test_a_cut_checkpoint_is_refused(path: Path, tmp_path: Path, file: str):
    saved(path, tmp_path)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError):
        Network.load(tmp_path)


def test_a_layer_inside_what_a_node_became_keeps_its_name(tmp_path: Path):
    """A Gemm with a column as its addend is a layer and an addition."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "column"], ["h"], name="first"),
        helper.make_node("Gemm", ["h", "w", "column"], ["y"], name="second"),
    ]
    model = model_of(nodes, {"x": [3, 5]}, constants={"w": random(5, 5), "column": random(3, 1)})
    for factor in (1, 2):
        network = Network.from_proto(model)
        with torch.no_grad():
            network.layer("first").weight.mul_(factor)
        network.save(tmp_path / str(factor))
        loaded = Network.load(tmp_path / str(factor))
        assert [layer.name for layer in loaded.layers()] == ["first", "second"]
        assert torch.equal(loaded.layer("first").weight, network.layer("first").weight)


def test_layers_of_a_function_keep_their_names(tmp_path: Path):
    body = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["d"])]
    function = helper.make_function("local", "Dense", ["a", "b"], ["d"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("Dense", [x, "w"], [y], domain="local") for x, y in ("xh", "hy")]
    model = model_of(nodes, {"x": ["n", 5]}, constants={"w": random(5, 5)})
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    network = Network.from_proto(model)
    network.save(tmp_path)
    assert [layer.name for layer in Network.load(tmp_path).layers()] == [layer.name for layer in network.layers()]
    assert len(network.layers()) == 2
