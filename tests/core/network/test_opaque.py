"""Operators without a torch form run in onnxruntime, in place."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from core.network import Network
from core.network.opaque import OpaqueNode
from modelpress.problem import ModelError
from tests.core.network.models import model_of, random, run_onnx


def with_integers() -> onnx.ModelProto:
    """y = b(h as eight bits tell it), where the scale is found at run time."""
    nodes = [
        helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1),
        helper.make_node("DynamicQuantizeLinear", ["h"], ["integers", "scale", "zero"]),
        helper.make_node("Cast", ["integers"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["zero"], ["offset"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "offset"], ["steps"]),
        helper.make_node("Mul", ["steps", "scale"], ["z"]),
        helper.make_node("Gemm", ["z", "b.weight"], ["y"], transB=1),
    ]
    return model_of(nodes, {"x": ["batch", 5]}, constants={"a.weight": random(6, 5), "b.weight": random(4, 6)})


def with_branch() -> onnx.ModelProto:
    """y = b(h + h if sum(h) > 0 else h), where the branches take `h` from around them."""
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Add", ["h", "h"], ["o"])], "then", [], [output])
    otherwise = helper.make_graph([helper.make_node("Identity", ["h"], ["o"])], "else", [], [output])
    nodes = [
        helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1),
        helper.make_node("ReduceSum", ["h"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=otherwise),
        helper.make_node("Gemm", ["z", "b.weight"], ["y"], transB=1),
    ]
    constants = {"a.weight": random(4, 5), "b.weight": random(4, 4), "zero": np.float32(0)}
    model = model_of(nodes, {"x": ["batch", 5]}, constants=constants)
    model.graph.output[0].type.tensor_type.shape.Clear()
    return model


MODELS = {"DynamicQuantizeLinear": with_integers, "If": with_branch}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return MODELS[request.param]()


def in_torch(network: Network, x: np.ndarray) -> np.ndarray:
    return network({"x": torch.from_numpy(x)})["y"].detach().numpy()


@pytest.mark.parametrize("seed", [0, 3])
def test_the_whole_computes_the_same(model: onnx.ModelProto, seed: int):
    network = Network.from_proto(model)
    x = random(2, 5, seed=seed)
    np.testing.assert_allclose(in_torch(network, x), run_onnx(model, {"x": x})[0], rtol=1e-5, atol=1e-6)
    assert network.to_proto() is model
    assert sum(isinstance(module, OpaqueNode) for module in network.graph.modules()) == 1


def test_layers_around_it_change_and_it_stays(model: onnx.ModelProto):
    network = Network.from_proto(model)
    with torch.no_grad():
        network.layer("a").weight.mul_(-0.5)
        network.layer("b").weight.add_(1.0)
    x = random(2, 5)
    written = network.to_proto()
    onnx.checker.check_model(written)
    np.testing.assert_allclose(run_onnx(written, {"x": x})[0], in_torch(network, x), rtol=1e-5, atol=1e-6)


def test_its_inputs_may_get_other_names(model: onnx.ModelProto):
    network = Network.from_proto(model)
    weight = network.layer("a").weight.detach()
    first, second = torch.nn.Linear(5, 5, bias=False), torch.nn.Linear(5, len(weight), bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.eye(5) * 2)
        second.weight.copy_(weight / 2)
    x = random(2, 5)
    before = in_torch(network, x)
    parts = network.replace(network.layer("a"), {"first": first, "second": second})
    parts[-1].node.meta["value"] = "renamed"
    np.testing.assert_allclose(in_torch(network, x), before, rtol=1e-5, atol=1e-6)
    written = network.to_proto()
    assert "renamed" in {name for node in written.graph.node for name in node.output}
    np.testing.assert_allclose(run_onnx(written, {"x": x})[0], before, rtol=1e-5, atol=1e-6)


def test_no_gradient_flows_through_it(model: onnx.ModelProto):
    network = Network.from_proto(model)
    network({"x": torch.from_numpy(random(2, 5))})["y"].sum().backward()
    assert network.layer("a").weight.grad is None
    assert network.layer("b").weight.grad is not None


def test_an_operator_that_onnxruntime_lacks_is_named():
    node = helper.make_node("ImageDecoder", ["x"], ["y"], name="decoder")
    uint8 = {"x": TensorProto.UINT8, "y": TensorProto.UINT8}
    network = Network.from_proto(model_of([node], {"x": ["n"]}, opset=20, types=uint8))
    with pytest.raises(ModelError, match="decoder"):
        network({"x": torch.zeros(4, dtype=torch.uint8)})


def test_a_copy_of_a_network_that_has_run_runs():
    network = Network.from_proto(with_integers())
    x = random(2, 5)
    assert np.array_equal(in_torch(network, x), in_torch(network.copy(), x))


def test_a_branch_reads_a_range_of_floats() -> None:
    """A range's type is its start's, however that is made."""
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["range"], ["o"])], "branch", [], [output])
    nodes = [
        helper.make_node("Constant", [], ["start"], value_float=0.5),
        helper.make_node("Range", ["start", "limit", "step"], ["range"]),
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch),
        helper.make_node("Mul", ["x", "z"], ["y"]),
    ]
    constants = {"limit": np.float32(4), "step": np.float32(1), "yes": np.array(True)}
    network = Network.from_proto(model_of(nodes, {"x": ["batch", 4]}, constants=constants))
    np.testing.assert_allclose(in_torch(network, np.ones((2, 4), np.float32)), [[0.5, 1.5, 2.5, 3.5]] * 2)
