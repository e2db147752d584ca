"""Layers replaced, cut, tied, reparametrised; modules on edges; another network in the same place."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from core.formulas import AffineInt8, Masked
from core.network import Network
from core.network.write import write_model
from core.quantizers.activation import ActivationQuantizer
from modelpress.problem import StepError
from tests.core.network.models import export_small_net, model_of, random, run_onnx

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
X = random(2, 3, 16, 16)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small_net(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture
def network(path: Path) -> Network:
    return Network.from_onnx(path)


def in_torch(network: Network, x: np.ndarray = X) -> np.ndarray:
    name = network.input_names[0]
    with torch.no_grad():
        return network({name: torch.from_numpy(x)})[network.output_names[0]].numpy()


def written(network: Network, x: np.ndarray = X) -> tuple[ModelProto, np.ndarray]:
    model = network.to_proto()
    onnx.checker.check_model(model)
    return model, run_onnx(model, {network.input_names[0]: x})[0]


def assert_written_alike(network: Network, x: np.ndarray = X) -> ModelProto:
    model, found = written(network, x)
    np.testing.assert_allclose(found, in_torch(network, x), rtol=1e-5, atol=1e-5)
    return model


# layers


def test_an_unknown_layer_is_refused_with_close_names(network: Network):
    with pytest.raises(StepError) as error:
        network.layer("block1.conv3")
    assert "block1.conv1" in error.value.hint


def test_layers_are_chosen_by_kind_and_tensor(network: Network):
    assert [layer.name for layer in network.layers(kinds={"Gemm"})] == ["fc1", "fc2"]
    assert "block1.bn1" not in [layer.name for layer in network.layers(having="weight")]
    assert [layer.name for layer in network.layers(having="running_mean")] == ["block1.bn1", "block2.bn1"]


def test_a_layer_says_what_it_is(network: Network):
    depthwise, linear = network.layer("block1.conv2"), network.layer("fc1")
    assert (depthwise.kind, depthwise.in_channels, depthwise.out_channels, depthwise.groups) == ("Conv", 8, 8, 8)
    assert (linear.kind, linear.in_channels, linear.out_channels, linear.groups) == ("Gemm", 16, 12, 1)


def low_rank(network: Network, name: str, rank: int) -> dict[str, nn.Module]:
    layer = network.layer(name)
    u, s, v = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    first, second = nn.Linear(layer.in_channels, rank, bias=False), nn.Linear(rank, layer.out_channels)
    with torch.no_grad():
        first.weight.copy_(s[:rank, None] * v[:rank])
        second.weight.copy_(u[:, :rank])
        assert layer.bias is not None
        second.bias.copy_(layer.bias)
    return {"first": first, "second": second}


def test_a_chain_takes_a_layers_place(network: Network):
    before = in_torch(network)
    made = network.replace(network.layer("fc1"), low_rank(network, "fc1", 12))
    assert [layer.name for layer in made] == ["fc1/first", "fc1/second"]
    np.testing.assert_allclose(in_torch(network), before, rtol=1e-4, atol=1e-5)
    model = assert_written_alike(network)
    names = [layer.name for layer in network.layers()]
    assert names[-3:] == ["fc1/first", "fc1/second", "fc2"]
    again = Network.from_proto(model)
    assert [layer.name for layer in again.layers()] == names
    assert "fc1.weight" not in {tensor.name for tensor in model.graph.initializer}


def test_what_was_replaced_can_be_replaced_again(network: Network):
    network.replace(network.layer("fc1"), low_rank(network, "fc1", 8))
    network.replace(network.layer("fc1/second"), low_rank(network, "fc1/second", 4))
    again = Network.from_proto(assert_written_alike(network))
    assert [layer.name for layer in again.layers()][-4:] == [
        "fc1/first",
        "fc1/second/first",
        "fc1/second/second",
        "fc2",
    ]


def test_a_convolution_with_uneven_padding_can_be_replaced():
    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], pads=[0, 1, 2, 1], name="node")
    network = Network.from_proto(model_of([node], {"x": [1, 3, 8, 8]}, constants={"conv.weight": random(6, 3, 3, 3)}))
    layer = network.layer("conv")
    first, second = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(6, 6, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(layer.weight)
        second.weight.copy_(torch.eye(6)[:, :, None, None])
    x = random(1, 3, 8, 8)
    before = in_torch(network, x)
    network.replace(layer, {"a": first, "b": second})
    np.testing.assert_allclose(in_torch(network, x), before, rtol=1e-5, atol=1e-5)
    assert_written_alike(network, x)


def test_lost_channels_are_written(network: Network):
    """The hidden layer loses units: fewer rows of fc1, fewer columns of fc2."""
    keep = torch.tensor([0, 2, 3, 7])
    fc1, fc2 = network.layer("fc1").module, network.layer("fc2").module
    fc1.weight, fc1.bias = nn.Parameter(fc1.weight[keep]), nn.Parameter(fc1.bias[keep])
    fc2.weight = nn.Parameter(fc2.weight[:, keep])
    model = assert_written_alike(network)
    assert Network.from_proto(model).layer("fc1").out_channels == 4


# ties and clones


def tied_model(width: int = 5) -> ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "shared.weight", "bias"], ["h"], transB=1, name="one"),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "shared.weight", "bias"], ["y"], transB=1, name="two"),
    ]
    return model_of(
        nodes, {"x": ["n", width]}, constants={"shared.weight": random(width, width), "bias": random(width)}
    )


def test_a_matrix_of_several_layers_is_one_parameter_and_a_vector_is_not():
    network = Network.from_proto(tied_model())
    one, two = network.layer("one"), network.layer("two")
    assert one.module.weight is two.module.weight
    assert one.module.bias is not two.module.bias
    assert network.tied(one) == [one, two]


def test_a_tie_is_written_once_and_clones_apart():
    network = Network.from_proto(tied_model())
    with torch.no_grad():
        network.layer("one").weight.mul_(1.5)
        network.layer("two").module.bias.add_(1.0)
    model = assert_written_alike(network, random(3, 5))
    assert sorted(len(tensor.dims) for tensor in model.graph.initializer) == [1, 1, 2]
    again = Network.from_proto(model)
    assert again.layer("one").module.weight is again.layer("two").module.weight


def test_tied_layers_share_a_formula():
    network = Network.from_proto(tied_model(64))
    network.layer("one").reparametrise(AffineInt8())
    assert network.layer("two").formula is network.layer("one").formula
    assert network.tied(network.layer("two")) == [network.layer("one"), network.layer("two")]
    model = assert_written_alike(network, random(3, 64))
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 1


# formulas


def test_a_formula_is_written_in_place_of_the_weight(network: Network):
    layer = network.layer("fc1")
    layer.reparametrise(Masked(layer.weight.abs() > layer.weight.abs().median()))
    assert int((layer.weight == 0).sum()) >= layer.weight.numel() // 2
    assert_written_alike(network)


def test_a_formula_raises_the_opset_where_it_needs_a_newer_one():
    node = helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["h"], transB=1)
    soft = helper.make_node("Softmax", ["h"], ["y"], axis=1)
    constants = {"fc.weight": random(64, 64), "fc.bias": random(64)}
    model = model_of([node, soft], {"x": ["n", 64]}, constants=constants, opset=9, ir_version=4)
    network = Network.from_proto(model)
    network.layer("fc").reparametrise(AffineInt8(integer_kernels=True))
    assert assert_written_alike(network, random(3, 64)).opset_import[0].version >= 13


def upsampled(name: str) -> GraphProto:
    """A branch with an operator that newer opsets lack."""
    node = helper.make_node("Upsample", ["h", "scales"], [name], mode="nearest")
    return helper.make_graph(
        [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 12, 12])]
    )


def test_where_the_opset_cannot_be_raised_weights_are_written_dense():
    """The converter leaves branches as they are, which newer opsets do not run: the formula gives way, as is said."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["h"]),
        helper.make_node("If", ["always"], ["y"], then_branch=upsampled("a"), else_branch=upsampled("b")),
    ]
    constants = {"conv.weight": random(64, 3, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)}
    constants["always"] = np.array(True)
    network = Network.from_proto(
        model_of(nodes, {"x": [1, 3, 8, 8]}, constants=constants, opset=9, ir_version=4),
    )
    network.layer("conv").reparametrise(AffineInt8(integer_kernels=True))
    export = network.export()
    onnx.checker.check_model(export.proto())
    (found,) = run_onnx(export.proto(), {"x": random(1, 3, 8, 8)})
    np.testing.assert_allclose(found, in_torch(network, random(1, 3, 8, 8)), rtol=1e-5, atol=1e-5)
    assert export.model.opset_import[0].version == 9
    assert "plain numbers" in export.notes[0]


# edges


def quantizer(low: float, high: float) -> ActivationQuantizer:
    module = ActivationQuantizer(signed=False)
    with torch.no_grad():
        module.scale.fill_((high - low) / 255)
        module.zero_point.fill_(round(-low / ((high - low) / 255)))
    return module


def test_a_module_on_an_edge_is_between_a_value_and_all_its_users(network: Network):
    before = in_torch(network)
    stem = network.layer("stem").node
    edge = network.insert_after(str(stem.meta["value"]), quantizer(-8, 8))
    assert list(stem.users) == [edge]
    after = in_torch(network)
    assert 1e-4 < np.abs(after - before).max() < 1.0
    model = network.to_proto()
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node].count("QuantizeLinear") == 1
    np.testing.assert_allclose(run_onnx(model, {"x": X}, optimised=False)[0], after, atol=0.05)


def test_an_output_keeps_its_name_when_it_is_rounded(network: Network):
    network.insert_after("y", quantizer(-4, 4))
    model, found = written(network)
    assert [value.name for value in model.graph.output] == ["y"]
    assert {node.op_type: list(node.output) for node in model.graph.node}["DequantizeLinear"] == ["y"]
    np.testing.assert_allclose(found, in_torch(network), atol=8 / 255 * 1.01)


def test_an_input_can_be_rounded(network: Network):
    network.insert_after("x", quantizer(-4, 4))
    model, _ = written(network)
    assert next(node.op_type for node in model.graph.node if "x" in node.input) == "QuantizeLinear"


def test_one_module_on_two_edges_is_one_module(network: Network):
    module = quantizer(-4, 4)
    edges = [network.insert_after(value, module) for value in ("x", "y")]
    assert edges[0].target == edges[1].target


def test_a_value_that_is_not_there_is_named(network: Network):
    with pytest.raises(StepError, match="nowhere"):
        network.insert_after("nowhere", quantizer(-4, 4))


def test_a_quantised_file_reads_back_without_opaque_nodes(network: Network):
    """Weights unfold to floats, roundings of activations stay, gradients go through them."""
    network.insert_after("x", quantizer(-4, 4))
    network.layer("stem").reparametrise(AffineInt8(integer_kernels=True))
    model = network.to_proto()
    again = Network.from_proto(model)
    assert not again.notes
    assert again.to_proto() is model
    np.testing.assert_allclose(in_torch(again), in_torch(network), atol=0.02)
    again.graph(torch.from_numpy(X))[0].sum().backward()
    weight = again.layer("stem").weight
    assert weight.grad is not None
    assert bool((weight.grad != 0).any())


# files


def test_weights_beyond_the_limit_go_beside_the_file(network: Network, tmp_path: Path):
    write_model(network.to_proto(), tmp_path / "big.onnx", most_bytes=100)
    assert (tmp_path / "big.onnx.data").stat().st_size > 1000
    again = Network.from_onnx(tmp_path / "big.onnx")
    assert np.array_equal(in_torch(again), in_torch(network))


# interface


def test_names_axes_and_metadata_are_kept(network: Network):
    network.source.metadata_props.add(key="author", value="someone")
    with torch.no_grad():
        network.layer("fc1").weight.mul_(2)
    model = network.to_proto()
    assert model.graph.input == network.source.graph.input
    assert model.graph.output == network.source.graph.output
    assert model.opset_import == network.source.opset_import
    assert model.metadata_props == network.source.metadata_props
    assert model.producer_name == network.source.producer_name


def test_becoming_another_network_needs_the_same_interface(network: Network, tmp_path: Path):
    other = Network.from_onnx(export_small_net(tmp_path / "other.onnx", seed=1))
    expected = in_torch(other)
    network.become(other)
    assert np.array_equal(in_torch(network), expected)
    with pytest.raises(StepError, match="takes and gives"):
        network.become(Network.from_proto(tied_model()))


def test_half_precision_is_computed_in_single_and_stored_as_half():
    node = helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["h"], transB=1)
    relu = helper.make_node("Relu", ["h"], ["y"])
    constants = {"fc.weight": random(4, 5).astype(np.float16), "fc.bias": random(4).astype(np.float16)}
    half = {"x": TensorProto.FLOAT16, "y": TensorProto.FLOAT16}
    network = Network.from_proto(model_of([node, relu], {"x": ["n", 5]}, constants=constants, types=half))
    with torch.no_grad():
        network.layer("fc").weight.mul_(1.5)
    x = random(3, 5).astype(np.float16)
    assert in_torch(network, x).dtype == np.float32
    model, found = written(network, x)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, in_torch(network, x), rtol=2e-3, atol=2e-3)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}


def test_a_shape_that_was_folded_is_written_with_the_change():
    """Shape(x) is known and folded; a change elsewhere must not leave the Reshape without it."""
    nodes = [
        helper.make_node("Gemm", ["x", "fc.weight"], ["h"], transB=1),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["h", "t"], ["y"]),
    ]
    constants = {
        "fc.weight": random(6, 5),
        "zero": np.array([0]),
        "one": np.array([1]),
        "rest": np.array([2, 3]),
    }
    network = Network.from_proto(model_of(nodes, {"x": [4, 5]}, constants=constants))
    with torch.no_grad():
        network.layer("fc").weight.mul_(2)
    assert_written_alike(network, random(4, 5))


def test_a_constant_made_of_a_shape_is_written_with_the_change():
    """The node that made it needs values that may be gone; the constant that it came to is stored instead."""
    nodes = [
        helper.make_node("Gemm", ["x", "fc.weight"], ["h"], transB=1),
        helper.make_node("Shape", ["h"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["ones"], value=helper.make_tensor("one", 1, [1], [1.0])),
        helper.make_node("Concat", ["h", "ones"], ["y"], axis=0),
    ]
    network = Network.from_proto(model_of(nodes, {"x": [4, 5]}, constants={"fc.weight": random(6, 5)}))
    assert network.to_proto() is network.source
    with torch.no_grad():
        network.layer("fc").weight.mul_(2)
    model = assert_written_alike(network, random(4, 5))
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Concat"]


def test_layers_without_a_name_keep_the_one_they_were_given():
    nodes = [
        helper.make_node("Gemm", [x, w], [y], transB=1)
        for x, w, y in (("x", "a", "h"), ("h", "b", "i"), ("i", "c", "y"))
    ]
    network = Network.from_proto(model_of(nodes, {"x": ["n", 5]}, constants={name: random(5, 5) for name in "abc"}))
    assert [layer.name for layer in network.layers()] == ["Gemm_0", "Gemm_1", "Gemm_2"]
    network.replace(network.layer("Gemm_0"), {"p": nn.Linear(5, 2), "q": nn.Linear(2, 5)})
    again = Network.from_proto(assert_written_alike(network, random(3, 5)))
    assert [layer.name for layer in again.layers()] == ["Gemm_0/p", "Gemm_0/q", "Gemm_1", "Gemm_2"]


def test_a_parameter_among_constants_is_trained_and_written():
    nodes = [helper.make_node("Mul", ["x", "gain"], ["h"]), helper.make_node("Add", ["h", "one"], ["y"])]
    constants = {"gain": random(1, 4, 1, 1), "one": np.float32(1)}
    network = Network.from_proto(model_of(nodes, {"x": ["n", 4, 3, 3]}, constants=constants))
    ((name, parameter),) = network.graph.named_parameters()
    assert (name, tuple(parameter.shape)) == ("gain", (1, 4, 1, 1))
    with torch.no_grad():
        parameter.mul_(3)
    model = assert_written_alike(network, random(2, 4, 3, 3))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_allclose(stored["gain"], constants["gain"] * 3)


def test_an_input_that_is_an_output_too_keeps_its_name():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")]
    model = model_of(nodes, {"x": ["n", 3]}, ("y", "x", "w"), constants={"w": random(3, 4)})
    network = Network.from_proto(model)
    network.layer("fc").weight.data.mul_(2)
    inputs = {"x": random(2, 3)}
    y, x, w = run_onnx(network.to_proto(), inputs)
    np.testing.assert_allclose(y, 2 * inputs["x"] @ random(3, 4), rtol=1e-5)
    np.testing.assert_array_equal(x, inputs["x"])
    np.testing.assert_array_equal(w, random(3, 4))
