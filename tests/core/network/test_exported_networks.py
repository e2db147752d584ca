"""Networks as torch's exporters write them: what goes in comes out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from core.network import Network
from tests.core.network.models import export_small_net, random, run_onnx, small_net

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
"""torch's exporters warn of themselves."""

LAYERS = [
    "stem",
    "block1.conv1",
    "block1.bn1",
    "block1.conv2",
    "block2.conv1",
    "block2.bn1",
    "block2.conv2",
    "fc1",
    "fc2",
]


@pytest.fixture(scope="module", params=["dynamic", "batch of one"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small_net(tmp_path_factory.mktemp("net") / "net.onnx", dynamic=request.param == "dynamic")


def outputs(network: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network({"x": torch.from_numpy(x)})["y"].numpy()


def test_layers_are_called_as_in_torch(path: Path):
    assert [layer.name for layer in Network.from_onnx(path).layers()] == LAYERS


def test_computes_what_onnxruntime_computes(path: Path):
    x = random(1, 3, 16, 16)
    (expected,) = run_onnx(path, {"x": x})
    assert np.abs(expected - run_onnx(path, {"x": x + 1})[0]).max() > 0.01  # the output depends on the input
    np.testing.assert_allclose(outputs(Network.from_onnx(path), x), expected, rtol=1e-5, atol=1e-6)


def test_unchanged_comes_out_as_it_came_in(path: Path, tmp_path: Path):
    Network.from_onnx(path).to_onnx(tmp_path / "out.onnx")
    assert onnx.load(tmp_path / "out.onnx") == onnx.load(path)


def test_changed_layers_are_written_and_others_left(path: Path):
    network = Network.from_onnx(path)
    with torch.no_grad():
        network.layer("fc1").weight.mul_(1.5)
    written = network.to_proto()
    onnx.checker.check_model(written)
    x = random(1, 3, 16, 16)
    np.testing.assert_allclose(run_onnx(written, {"x": x})[0], outputs(network, x), rtol=1e-5, atol=1e-6)
    before = {tensor.name: tensor.SerializeToString() for tensor in network.source.graph.initializer}
    after = {tensor.name: tensor.SerializeToString() for tensor in written.graph.initializer}
    assert {name for name in before if before[name] != after.get(name)} == {"fc1.weight"}
    assert written.graph.input == network.source.graph.input
    assert written.graph.output == network.source.graph.output
    assert not written.graph.value_info
    assert [layer.name for layer in Network.from_proto(written).layers()] == LAYERS


def test_batches_train_where_the_file_declares_one(path: Path):
    network = Network.from_onnx(path)
    x = torch.from_numpy(random(6, 3, 16, 16))
    together = network.train_graph()(x)[0]
    alone = torch.cat([network.graph(x[k : k + 1])[0] for k in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    together.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.graph.parameters())


def test_folded_batch_norm_gives_the_same_network(tmp_path: Path):
    network = Network.from_onnx(export_small_net(tmp_path / "net.onnx", keep_batch_norm=False))
    x = random(2, 3, 16, 16)
    with torch.no_grad():
        expected = small_net()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(outputs(network, x), expected, rtol=1e-4, atol=1e-5)


def test_the_other_exporter_gives_the_same_layers(tmp_path: Path):
    path = tmp_path / "net.onnx"
    torch.onnx.export(
        small_net(), (torch.randn(1, 3, 16, 16),), str(path), input_names=["x"], output_names=["y"], verbose=False
    )
    network = Network.from_onnx(path)
    x = random(1, 3, 16, 16)
    np.testing.assert_allclose(outputs(network, x), run_onnx(path, {"x": x})[0], rtol=1e-5, atol=1e-6)
    assert {"stem", "block1.conv2", "fc1", "fc2"} <= {layer.name for layer in network.layers()}
    assert network.to_proto() is network.source
