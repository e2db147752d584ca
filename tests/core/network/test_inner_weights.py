"""Weights inside the branches of If, Loop and Scan are layers, though onnxruntime runs the node."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.formulas import AffineInt8, Codebook, Masked
from core.network import Network
from core.techniques.pruning.magnitude import prune_by_magnitude
from core.techniques.sharing.codebook import share_by_codebook
from modelpress import steps
from tests.core.network.models import model_of, random, run_onnx
from tests.core.techniques.contexts import context_for, samples_of

FLOAT = TensorProto.FLOAT
WIDTH = 64  # of a weight that a formula makes smaller


def square(seed: int) -> np.ndarray:
    """A matrix that hardly changes the length of what it is multiplied with."""
    return random(WIDTH, WIDTH, seed=seed) / WIDTH**0.5


def value(name: str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """A scalar where it is no float, else of any shape."""
    return helper.make_tensor_value_info(name, kind, None if kind == FLOAT else [])


def with_loop(*, as_constant: bool = False, captured: bool = False) -> ModelProto:
    """y = b(h W W W), the three products in a Loop whose body holds W, or captures it."""
    weight = numpy_helper.from_array(square(3), "w")
    nodes = [
        helper.make_node("MatMul", ["state", "w"], ["next"]),
        helper.make_node("Identity", ["go"], ["going"]),
    ]
    held = [] if as_constant or captured else [weight]
    if as_constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    inputs = [value("i", TensorProto.INT64), value("go", TensorProto.BOOL), value("state")]
    body = helper.make_graph(nodes, "body", inputs, [value("going", TensorProto.BOOL), value("next")], held)
    outer = [
        helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1),
        helper.make_node("Loop", ["times", "", "h"], ["z"], name="loop", body=body),
        helper.make_node("Gemm", ["z", "b.weight"], ["y"], transB=1),
    ]
    constants = {"a.weight": random(WIDTH, 5), "b.weight": random(4, WIDTH), "times": np.int64(3)}
    if captured:
        constants["w"] = square(3)
    model = model_of(outer, {"x": ["batch", 5]}, constants=constants, opset=21, ir_version=10)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", "width"]))
    return model


def with_branches() -> ModelProto:
    """y = h W or h V by the sign of the sum of h; both branches call their weight `w`."""

    def branch(seed: int) -> onnx.GraphProto:
        weight = numpy_helper.from_array(square(seed), "w")
        return helper.make_graph(
            [helper.make_node("MatMul", ["h", "w"], ["o"])], f"b{seed}", [], [value("o")], [weight]
        )

    nodes = [
        helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1),
        helper.make_node("ReduceSum", ["h"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch(1), else_branch=branch(2)),
    ]
    model = model_of(
        nodes, {"x": ["batch", 5]}, constants={"a.weight": random(WIDTH, 5), "zero": np.float32(0)}, opset=21
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["batch", "width"]))
    return model


MODELS: dict[str, Callable[[], ModelProto]] = {
    "initialiser": with_loop,
    "Constant": lambda: with_loop(as_constant=True),
    "captured": lambda: with_loop(captured=True),
    "branches": with_branches,
}
TECHNIQUES = {
    "pruned": lambda network, ctx: prune_by_magnitude(network, steps.MagnitudePruning(sparsity=0.5), ctx),
    "codebook": lambda network, ctx: share_by_codebook(network, steps.CodebookSharing(bits=3), ctx),
    "int8": lambda network, ctx: [layer.reparametrise(AffineInt8()) for layer in network.layers(having="weight")],
}
KEPT = {"pruned": Masked, "codebook": Codebook, "int8": AffineInt8}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> ModelProto:
    return MODELS[request.param]()


def inner_layers(network: Network) -> list[str]:
    return [layer.name for layer in network.layers(having="weight", kinds=("If", "Loop", "Scan"))]


def in_torch(network: Network, x: np.ndarray) -> np.ndarray:
    return network({"x": torch.from_numpy(x)})["y"].detach().numpy()


def assert_written_alike(network: Network, before: ModelProto) -> ModelProto:
    """The file computes what the network does, and another thing than the source did."""
    written = network.to_proto()
    onnx.checker.check_model(written)
    for seed in (0, 3):
        x = random(2, 5, seed=seed)
        found = run_onnx(written, {"x": x})[0]
        np.testing.assert_allclose(found, in_torch(network, x), rtol=1e-4, atol=1e-4)
        assert not np.allclose(found, run_onnx(before, {"x": x})[0], rtol=1e-3, atol=1e-3)
    return written


def test_they_are_layers_and_an_unchanged_network_is_written_as_it_came(model: ModelProto):
    network = Network.from_proto(model)
    names = inner_layers(network)
    assert len(names) == (2 if any(node.op_type == "If" for node in model.graph.node) else 1)
    assert all(network.layer(name).weight.numel() == WIDTH**2 for name in names)
    x = random(2, 5)
    np.testing.assert_allclose(in_torch(network, x), run_onnx(model, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert network.to_proto() is model


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_what_works_on_weights_alone_works_on_them(model: ModelProto, technique: str, tmp_path: Path):
    network = Network.from_proto(model)
    TECHNIQUES[technique](network, context_for(network.copy(), tmp_path, samples_of({"x": random(8, 5)})))
    for name in inner_layers(network):
        assert isinstance(network.layer(name).formula, KEPT[technique])
    written = assert_written_alike(network, model)
    floats = [tensor for tensor in written.graph.initializer if tensor.data_type == FLOAT]
    assert max(np.prod(tensor.dims) for tensor in floats) <= WIDTH**2 / 2 + 1


def test_changed_numbers_are_written_and_read_again(model: ModelProto, tmp_path: Path):
    network = Network.from_proto(model)
    with torch.no_grad():
        for name in inner_layers(network):
            network.layer(name).weight.mul_(-0.5)
    written = assert_written_alike(network, model)
    again = Network.from_proto(written)
    assert len(inner_layers(again)) == len(inner_layers(network))
    network.save(tmp_path)
    loaded = Network.load(tmp_path)
    assert inner_layers(loaded) == inner_layers(network)
    x = random(2, 5)
    assert np.array_equal(in_torch(loaded, x), in_torch(network, x))


def test_other_layers_change_and_they_stay(model: ModelProto):
    network = Network.from_proto(model)
    with torch.no_grad():
        network.layer("a").weight.mul_(2.0)
    written = assert_written_alike(network, model)
    kept = next(node for node in written.graph.node if node.op_type in ("Loop", "If"))
    assert kept in list(model.graph.node)
