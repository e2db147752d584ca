"""Old files: IR 3, where initialisers are inputs too, and weights that operators make."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper

from core.network import Network
from modelpress.problem import StepError
from tests.core.network.agreement import assert_all_close, in_torch
from tests.core.network.models import model_of, random, run_onnx

LIGHT = Path(os.path.dirname(onnx.__file__)) / "backend" / "test" / "data" / "light"
RANDOM_GAIN = 2**0.5  # He et al. 2015: keeps the size of activations from layer to layer


def ir3_model() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "conv_w", "conv_b"], ["h"], name="conv"),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    constants = {"conv_w": random(4, 3, 3, 3), "conv_b": random(4)}
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, constants=constants, opset=8, ir_version=3)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.checker.check_model(model)
    return model


def test_initialisers_are_no_inputs():
    network = Network.from_proto(ir3_model())
    assert network.input_names == ["x"]
    assert network.layer("conv").weight.requires_grad


def test_no_other_value_is_taken_for_an_initialiser():
    inputs = {"x": torch.from_numpy(random(1, 3, 8, 8)), "conv_b": torch.ones(4)}
    with pytest.raises(StepError, match="conv_b has a default value"):
        Network.from_proto(ir3_model())(inputs)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("ThresholdedRelu", {"alpha": 0.3}),
        ("MeanVarianceNormalization", {}),
        ("MeanVarianceNormalization", {"across_channels": 1, "normalize_variance": 0}),
    ],
)
def test_operators_from_before_the_standard_had_them(op: str, attributes: dict[str, Any]):
    model = model_of([helper.make_node(op, ["x"], ["y"], **attributes)], {"x": [2, 3, 4, 4]}, opset=7)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3, 4, 4]))
    network = Network.from_proto(model)
    assert network.to_proto() is model
    inputs = {"x": random(2, 3, 4, 4)}
    assert_all_close(in_torch(network, inputs), run_onnx(model, inputs))


def test_an_old_file_comes_out_as_it_is_and_changed_with_a_newer_ir():
    network = Network.from_proto(ir3_model())
    assert network.to_proto() is network.source
    with torch.no_grad():
        network.layer("conv").weight.mul_(2)
    model = network.to_proto()
    onnx.checker.check_model(model)
    assert model.ir_version >= 4
    assert [value.name for value in model.graph.input] == ["x"]
    x = random(1, 3, 8, 8)
    found = run_onnx(model, {"x": x})[0]
    np.testing.assert_allclose(found, network.graph(torch.from_numpy(x))[0].detach().numpy(), rtol=1e-5, atol=1e-5)


def light_model(name: str, seed: int = 0) -> ModelProto:
    """A model of the onnx package with its constant weights replaced by random ones."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    shapes = {tensor.name: tensor for tensor in model.graph.initializer}
    roles = {
        node.input[k]: role
        for node in model.graph.node
        if node.op_type == "BatchNormalization"
        for k, role in ((1, "scale"), (4, "variance"))
    }
    generator = np.random.default_rng(seed)
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = numpy_helper.to_array(shapes[node.input[0]]).tolist()
            value = _random_weight(generator, shape, roles.get(node.output[0], ""))
            model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.ir_version = 4
    return model


def _random_weight(generator: np.random.Generator, shape: list[int], role: str) -> np.ndarray:
    values = generator.standard_normal(shape, dtype=np.float32)
    if role:
        return 1 + 0.1 * np.abs(values)
    return values * np.float32(RANDOM_GAIN / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "resnet50", "inception_v2"])
def test_models_of_the_onnx_package_import_and_export(name: str):
    model = light_model(name)
    network = Network.from_proto(model)
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    (expected,) = run_onnx(model, {network.input_names[0]: x})
    assert expected.std() > 1e-5  # neither constant nor saturated
    with torch.no_grad():
        (found,) = network.graph(torch.from_numpy(x))
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5 * scale)
    assert network.to_proto() is model
    assert not network.notes
