"""Counts worked out by hand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.measure.costs import Costs
from core.measure.layers import OTHER, measure_layers
from tests.core.job_folders import cnn

IMAGE = {"x": np.zeros((1, 1, 8, 8), np.float32)}


def model(nodes, weights, shape, out="y"):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def f4(*shape, value=1.0):
    return np.full(shape, value, np.float32)


def test_a_small_cnn(tmp_path):
    costs = Costs(cnn(), IMAGE, tmp_path)
    assert costs.parameters == 80 + 1168 + 51
    assert costs.nonzeros == costs.parameters
    assert costs.macs == 64 * 8 * 9 + 64 * 16 * 72 + 48
    assert [layer.macs for layer in costs.layers()] == [64 * 8 * 9, 64 * 16 * 72, 48]


def test_one_sample_is_counted_whatever_the_batch(tmp_path):
    batch = {"x": np.zeros((5, 1, 8, 8), np.float32)}
    assert Costs(cnn(), batch, tmp_path).macs == Costs(cnn(), IMAGE, tmp_path).macs


@pytest.mark.parametrize(
    "node, weights, shape, macs",
    [
        (("Conv", {"group": 4, "pads": [1, 1, 1, 1]}), {"w": f4(8, 1, 3, 3)}, [1, 4, 6, 6], 36 * 8 * 9),
        (("Conv", {"strides": [2]}), {"w": f4(5, 3, 2)}, [1, 3, 8], 4 * 5 * 3 * 2),
        (("ConvTranspose", {"strides": [2, 2]}), {"w": f4(3, 5, 2, 2)}, [1, 3, 4, 4], 16 * 3 * 5 * 4),
        (("MatMul", {}), {"w": f4(6, 7)}, [1, 5, 6], 5 * 6 * 7),
        (("Gemm", {}), {"w": f4(6, 7)}, [1, 6], 42),
    ],
)
def test_multiply_accumulates_of_each_operator(tmp_path, node, weights, shape, macs):
    proto = model([helper.make_node(node[0], ["x", "w"], ["y"], **node[1])], weights, shape)
    assert Costs(proto, {"x": np.zeros(shape, np.float32)}, tmp_path).macs == macs


def test_running_statistics_and_quantisers_scales_are_no_parameters(tmp_path):
    names = ("scale", "shift", "mean", "var")
    nodes = [
        helper.make_node("BatchNormalization", ["x", *names], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["b"]),
        helper.make_node("DequantizeLinear", ["b", "s", "z"], ["y"]),
    ]
    weights = {name: f4(4) for name in names} | {"s": np.float32(0.1), "z": np.uint8(0)}
    assert Costs(model(nodes, weights, [1, 4, 2]), None, tmp_path).parameters == 8


def test_rounded_weights_count_as_what_they_unfold_to(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    integers = np.array([[[0]], [[3]], [[0]], [[-2]]], np.int8)
    proto = model(nodes, {"q": integers, "s": f4(4), "z": np.zeros(4, np.int8)}, [1, 1, 5])
    costs = Costs(proto, {"x": np.zeros((1, 1, 5), np.float32)}, tmp_path)
    assert (costs.parameters, costs.nonzeros, costs.macs) == (4, 2, 20)


def test_ties_count_once_and_work_on_constants_not_at_all(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["left", "right"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    proto = model(nodes, {"left": f4(4, 2), "right": f4(2, 4)}, [1, 4])
    costs = Costs(proto, {"x": np.zeros((1, 4), np.float32)}, tmp_path)
    assert (costs.parameters, costs.macs) == (16, 32)


def test_without_inputs_multiply_accumulates_are_not_guessed(tmp_path):
    assert Costs(cnn(), None, tmp_path).macs is None


def test_a_model_that_does_not_run_has_no_multiply_accumulates(tmp_path):
    assert Costs(cnn(), {"x": np.zeros((1, 3, 8, 8), np.float32)}, tmp_path).macs is None


def test_a_model_that_onnxruntime_has_no_words_for_does_not_run_either(tmp_path):
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=1, direction=b"\xff")
    weights = {"w": f4(1, 4, 2), "r": f4(1, 4, 1)}
    assert Costs(model([node], weights, [3, 1, 2]), {"x": f4(3, 1, 2)}, tmp_path).macs is None


def test_a_folded_normalisation_has_no_time_of_its_own(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "bn.weight", "b", "m", "v"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("BatchNormalization", ["d", "last.weight", "b", "m", "v"], ["y"]),
    ]
    weights = {"conv.weight": f4(4, 1, 3, 3), "bn.weight": f4(4), "last.weight": f4(4)}
    weights |= {name: f4(4) for name in "bmv"}
    conv, folded, last, _ = measure_layers(model(nodes, weights, [1, 1, 8, 8]), IMAGE, tmp_path)
    assert (conv.name, folded.name, last.name) == ("conv", "bn", "last")
    assert conv.milliseconds is not None
    assert conv.milliseconds > 0
    assert (folded.milliseconds, folded.ran_as) == (None, [])
    assert last.ran_as  # behind the Relu nothing folds it


def test_the_time_of_fused_nodes_goes_to_their_layer(tmp_path):
    layers = measure_layers(cnn(), IMAGE, tmp_path)
    assert [layer.name for layer in layers] == ["conv1", "conv2", "fc", OTHER]
    assert all(layer.milliseconds > 0 for layer in layers)
    assert "Relu" not in layers[-1].ran_as  # it ran inside the convolutions
    assert not list(tmp_path.iterdir())
