"""What every native operator owes: no opaque node, onnxruntime's outputs, again after it was written anew or saved."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto

from core.network import Network
from core.network.opaque import OpaqueNode
from tests.core.network.models import run_onnx

Arrays = Mapping[str, np.ndarray]


def in_torch(network: Network, inputs: Arrays) -> list[np.ndarray]:
    with torch.no_grad():
        return [value.numpy() for value in network({name: torch.from_numpy(x) for name, x in inputs.items()}).values()]


def assert_all_close(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-5) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = max(float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)), 1e-3)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def native(model: ModelProto) -> Network:
    """The network, of which nothing is opaque, and which comes out as it came in."""
    network = Network.from_proto(model)
    opaque = [str(module) for module in network.graph.modules() if isinstance(module, OpaqueNode)]
    assert not opaque, network.notes
    assert network.to_proto() is model
    return network


def written_anew(network: Network) -> ModelProto:
    """The model with every node written from the normal form, as if all were new."""
    twin = network.copy()
    for node in twin.graph.graph.nodes:
        node.meta["source"] = ()
    written = twin.to_proto()
    onnx.checker.check_model(written)
    return written


def assert_saves(network: Network, inputs: Arrays) -> None:
    """A checkpoint comes back with its layers and outputs, as it is and with other weights."""
    twin = network.copy()
    for factor in (1.0, 0.5):
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            for parameter in twin.graph.parameters():
                parameter.mul_(factor)
            twin.save(Path(folder))
            loaded = Network.load(Path(folder))
        assert [layer.name for layer in loaded.layers()] == [layer.name for layer in twin.layers()]
        assert_all_close(in_torch(loaded, inputs), in_torch(twin, inputs))


def assert_agrees(model: ModelProto, inputs: Arrays, tolerance: float = 1e-5) -> Network:
    """Torch computes what onnxruntime does, from the file's nodes and from the ones that we write; it can be saved."""
    network = native(model)
    expected = run_onnx(model, dict(inputs), optimised=False)
    assert_all_close(in_torch(network, inputs), expected, tolerance)
    assert_all_close(run_onnx(written_anew(network), dict(inputs), optimised=False), expected, tolerance)
    assert_saves(network, inputs)
    return network
