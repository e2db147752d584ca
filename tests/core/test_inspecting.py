"""What is known of a network from looking at it once."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from core.inspecting import inspect
from core.network import Network
from modelpress.inspection import Inspection
from tests.core.network.models import model_of, random

INT64 = TensorProto.INT64


def looked_at(proto, scratch: Path) -> Inspection:
    return inspect(Network.from_proto(proto), 1, scratch)


def mixed():
    """Convolution, a scale, attention without weights, a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Transpose", ["b"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["b", "t"], ["c"], name="gram"),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["y"], transB=1),
    ]
    constants = {"conv.weight": random(6, 2, 3, 3), "conv.bias": random(6), "scale": random(1, 6, 1, 1)}
    return model_of(nodes, {"x": ["n", 2, 5, 5]}, constants={**constants, "fc.weight": random(3, 150)})


def test_every_cost_is_in_one_row(tmp_path):
    found = looked_at(mixed(), tmp_path)
    assert [(row.name, row.parameters, row.macs) for row in found.layers] == [
        ("conv", 6 * 18 + 6, 25 * 6 * 18),
        ("fc", 450, 450),
    ]
    assert [(row.name, row.parameters, row.macs) for row in found.others] == [("b", 6, 0), ("gram", 0, 6 * 125)]
    everything = [*found.layers, *found.others]
    assert found.parameters == sum(row.parameters for row in everything)
    assert found.macs == sum(row.macs for row in everything)
    assert found.weight_bytes == sum(row.bytes for row in everything) == 4 * found.parameters
    assert everything[0].activation_bytes == 6 * 25 * 4
    assert found.peak_activation_bytes == 3 * 6 * 25 * 4  # of b, t and c


def test_the_prunable_share_and_what_locks_the_rest(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "last"], ["y"]),
    ]
    constants = {"first": random(5, 2, 3, 3), "last": random(3, 5, 1, 1)}
    found = looked_at(model_of(nodes, {"x": [1, 2, 8, 8]}, constants=constants), tmp_path)
    assert (found.prunable, found.filters) == (5, 8)
    assert found.locks == {found.layers[1].locked: 3}


def test_free_sizes_of_one_name_are_one_size_and_are_told(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "axes"], ["u"]),
        helper.make_node("Mul", ["h", "u"], ["y"]),
    ]
    constants = {"table": random(2, 4), "axes": np.array([2])}
    inputs = {"ids": ["batch", "length"], "mask": ["batch", "length"]}
    proto = model_of(nodes, inputs, constants=constants, types={"ids": INT64, "mask": INT64})
    found = looked_at(proto, tmp_path)
    assert found.counted_on == {"ids": [1, 32], "mask": [1, 32]}
    assert found.macs == 0
    assert [row.type for row in [*found.layers, *found.others]] == ["Gather"]


def test_what_no_gradient_reaches_is_frozen(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("DynamicQuantizeLinear", ["a"], ["n", "scale", "zero"]),
        helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
    ]
    found = looked_at(model_of(nodes, {"x": [1, 2, 4, 4]}, constants={"w": random(3, 2, 1, 1)}), tmp_path)
    assert [layer.frozen for layer in found.layers] == [True]


def test_what_is_no_layer_is_called_as_what_it_makes_and_like_no_other_row(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["gram"]),
        helper.make_node("MatMul", ["gram", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    weights = {"w": random(3, 3), "v": random(3, 3)}
    found = looked_at(model_of(nodes, {"x": [1, 3, 4]}, constants=weights), tmp_path)
    assert [row.name for row in found.layers] == ["MatMul_0", "MatMul_1"]
    assert [row.name for row in found.others] == ["gram"]


def test_a_network_that_does_not_run_has_no_costs_that_depend_on_shapes(tmp_path):
    """Its free size is not the 128 that it is taken to be."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    found = looked_at(model_of(nodes, {"x": ["n", 2, "k"]}, constants={"w": random(5, 4)}), tmp_path)
    assert (found.macs, found.peak_activation_bytes, found.layers[0].output_shape) == (None, None, None)
    assert (found.parameters, found.counted_on, found.prunable) == (20, {}, None)


def test_a_hidden_unit_is_one_channel_however_many_gates_it_has(tmp_path):
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], hidden_size=4),
        helper.make_node("Squeeze", ["last", "first"], ["s"]),
        helper.make_node("MatMul", ["s", "fc"], ["y"]),
    ]
    constants = {"w": random(1, 16, 2), "r": random(1, 16, 4), "first": np.array([0]), "fc": random(4, 3)}
    found = looked_at(model_of(nodes, {"x": ["time", "batch", 2]}, constants=constants), tmp_path)
    assert [(layer.prunable, layer.out_channels) for layer in found.layers] == [(4, 4), (0, 3)]
    assert (found.prunable, found.filters, sum(found.locks.values())) == (4, 7, 3)
