"""Batch norms folded into the layer before them: the same function, fewer nodes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, helper

from core.formulas import Codebook, Masked
from core.network import Network
from core.network.fold_bn import fold_batch_norms
from tests.core.network.models import model_of, random, run_onnx

NORM = {"s": random(6), "b": random(6, seed=1), "m": random(6, seed=2), "v": random(6, seed=3) ** 2 + 0.5}

LAYERS: dict[str, tuple[list[NodeProto], dict[str, np.ndarray], list[int]]] = {
    "Conv": (
        [helper.make_node("Conv", ["x", "layer.weight"], ["h"], group=2)],
        {"layer.weight": random(6, 2, 3, 3)},
        [2, 4, 8, 8],
    ),
    "Conv with bias": (
        [helper.make_node("Conv", ["x", "layer.weight", "layer.bias"], ["h"])],
        {"layer.weight": random(6, 4, 3, 3), "layer.bias": random(6, seed=9)},
        [2, 4, 8, 8],
    ),
    "ConvTranspose": (
        [helper.make_node("ConvTranspose", ["x", "layer.weight"], ["h"], group=2)],
        {"layer.weight": random(4, 3, 3, 3)},
        [2, 4, 8, 8],
    ),
    "Gemm": (
        [helper.make_node("Gemm", ["x", "layer.weight"], ["h"], transB=1)],
        {"layer.weight": random(6, 5)},
        [3, 5],
    ),
    "MatMul": ([helper.make_node("MatMul", ["x", "layer.weight"], ["h"])], {"layer.weight": random(5, 6)}, [3, 5]),
}


def network_of(name: str) -> tuple[Network, np.ndarray]:
    nodes, constants, shape = LAYERS[name]
    norm = helper.make_node("BatchNormalization", ["h", *NORM], ["n"], name="norm")
    tail = helper.make_node("Relu", ["n"], ["y"])
    model = model_of([*nodes, norm, tail], {"x": shape}, constants={**constants, **NORM})
    return Network.from_proto(model), random(*shape, seed=4)


def in_torch(network: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network.graph(torch.from_numpy(x))[0].numpy()


@pytest.mark.parametrize("name", LAYERS)
def test_the_folded_network_computes_the_same(name: str):
    network, x = network_of(name)
    before = in_torch(network, x)
    assert fold_batch_norms(network) == ["norm"]
    np.testing.assert_allclose(in_torch(network, x), before, rtol=1e-4, atol=1e-5)
    written = network.to_proto()
    onnx.checker.check_model(written)
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}
    np.testing.assert_allclose(run_onnx(written, {"x": x})[0], before, rtol=1e-4, atol=1e-5)
    assert network.notes == ["norm is folded into layer"]


def test_a_mask_survives():
    network, x = network_of("Conv")
    layer = network.layer("layer")
    layer.reparametrise(Masked(layer.weight.abs() > 0.5))
    zeros, before = layer.weight == 0, in_torch(network, x)
    assert fold_batch_norms(network) == ["norm"]
    np.testing.assert_allclose(in_torch(network, x), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(network.layer("layer").weight == 0, zeros)


def test_shared_values_are_not_broken_up():
    network, x = network_of("Conv with bias")
    network.layer("layer").reparametrise(Codebook(4))
    before = in_torch(network, x)
    assert fold_batch_norms(network) == []
    assert np.array_equal(in_torch(network, x), before)


def test_a_layer_whose_output_others_use_keeps_its_norm():
    nodes, constants, shape = LAYERS["Conv"]
    norm = helper.make_node("BatchNormalization", ["h", *NORM], ["n"])
    tail = helper.make_node("Add", ["n", "h"], ["y"])
    network = Network.from_proto(model_of([*nodes, norm, tail], {"x": shape}, constants={**constants, **NORM}))
    assert fold_batch_norms(network) == []


def test_a_norm_over_other_channels_than_the_layers_is_left():
    """MatMul works on the last axis, the norm on the second."""
    matmul = helper.make_node("MatMul", ["x", "w"], ["h"])
    norm = helper.make_node("BatchNormalization", ["h", *NORM], ["y"])
    model = model_of([matmul, norm], {"x": [2, 6, 5]}, constants={"w": random(5, 6), **NORM})
    assert fold_batch_norms(Network.from_proto(model)) == []
