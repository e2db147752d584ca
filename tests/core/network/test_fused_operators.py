"""Operators into which onnxruntime fuses several: the same numbers, and layers as in the file they were fused from."""

from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper

from core.network import Network
from tests.core.network.agreement import assert_agrees, assert_all_close, in_torch
from tests.core.network.models import model_of, random, run_onnx

IMAGE = (2, 4, 7, 9)
MATRIX = (3, 5)
Case = tuple[str, tuple[int, ...], dict[str, Any], dict[str, Any]]

CASES: dict[str, Case] = {
    "Gelu": ("Gelu", IMAGE, {}, {}),
    "BiasGelu": ("BiasGelu", IMAGE, {"b": random(9)}, {}),
    "FastGelu": ("FastGelu", IMAGE, {}, {}),
    "FastGelu biased": ("FastGelu", IMAGE, {"b": random(9)}, {}),
    "QuickGelu": ("QuickGelu", IMAGE, {}, {"alpha": 1.5}),
    "FusedMatMul": ("FusedMatMul", IMAGE, {"w": random(6, 9)}, {"transB": 1, "alpha": 0.5}),
    "FusedMatMul stacked": ("FusedMatMul", IMAGE, {"w": random(2, 4, 7, 3)}, {"transA": 1}),
    "TransposeMatMul": ("TransposeMatMul", MATRIX, {"w": random(5, 4)}, {"alpha": 2.0}),
    "FusedGemm": ("FusedGemm", MATRIX, {"w": random(4, 5), "b": random(4)}, {"transB": 1, "activation": "Relu"}),
    "FusedGemm leaky": (
        "FusedGemm",
        MATRIX,
        {"w": random(5, 4), "b": random(4)},
        {"activation": "LeakyRelu", "activation_alpha": 0.3},
    ),
    "FusedConv": ("FusedConv", IMAGE, {"w": random(6, 4, 3, 3), "b": random(6)}, {"activation": "Relu"}),
    "FusedConv clipped": (
        "FusedConv",
        IMAGE,
        {"w": random(6, 4, 3, 3)},
        {"activation": "Clip", "activation_params": [-0.5, 1.5], "pads": [1, 1, 1, 1]},
    ),
    "FusedConv adding": (
        "FusedConv",
        IMAGE,
        {"w": random(6, 4, 3, 3), "b": random(6), "z": random(2, 6, 5, 7)},
        {"activation": "Relu"},
    ),
}
LAYERS = {"FusedMatMul": "MatMul", "TransposeMatMul": "MatMul", "FusedGemm": "Gemm", "FusedConv": "Conv"}


def fused(name: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    op, shape, constants, attributes = CASES[name]
    node = helper.make_node(op, ["x", *constants], ["y"], name="fused", domain="com.microsoft", **attributes)
    model = model_of([node], {"x": shape}, constants=constants)
    inputs = {"x": random(*shape, seed=5)}
    (y,) = run_onnx(model, inputs)
    for size in y.shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    return model, inputs


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str):
    model, inputs = fused(name)
    network = assert_agrees(model, inputs, 1e-4 if "Fast" in name else 1e-5)  # whose tanh is approximate
    if CASES[name][0] in LAYERS and name != "FusedMatMul stacked":
        assert [(layer.name, layer.kind) for layer in network.layers()] == [("fused", LAYERS[CASES[name][0]])]


@pytest.mark.parametrize("name", ["FusedMatMul", "FusedGemm", "FusedConv clipped", "FusedConv adding"])
def test_with_other_weights_it_is_written_in_parts(name: str):
    model, inputs = fused(name)
    network = Network.from_proto(model)
    with torch.no_grad():
        network.layer("fused").weight.mul_(-1.5)
    written = network.to_proto()
    assert [node.domain for node in written.graph.node] == [""] * len(written.graph.node)
    found = run_onnx(written, inputs)
    assert np.abs(found[0] - run_onnx(model, inputs)[0]).max() > 0.1
    assert_all_close(found, in_torch(network, inputs))


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 3)])
def test_a_transposed_matrix_times_a_vector_is_what_it_is_in_onnxruntime(shape: tuple[int, ...]):
    node = helper.make_node("FusedMatMul", ["x", "v"], ["y"], domain="com.microsoft", transA=1)
    inputs = {"x": np.swapaxes(random(*shape), -1, -2).copy(), "v": random(3)}
    model = model_of([node], {name: array.shape for name, array in inputs.items()})
    for size in shape[:-1]:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    assert_all_close(in_torch(Network.from_proto(model), inputs), run_onnx(model, inputs))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_written_in_the_opset_that_there_is(approximate: str):
    node = helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)
    assert_agrees(model_of([node], {"x": IMAGE}, opset=20), {"x": random(*IMAGE)})


@pytest.mark.parametrize("alpha", [1.0, 1.7])
def test_swish(alpha: float):
    node = helper.make_node("Swish", ["x"], ["y"], alpha=alpha)
    assert_agrees(model_of([node], {"x": IMAGE}, opset=24, ir_version=11), {"x": random(*IMAGE)})
