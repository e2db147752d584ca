"""What counts as a parameter, and the bytes that it takes in the file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import GraphProto, TensorProto, helper, numpy_helper

from core.measure.costs import Costs
from core.network import Network
from tests.core.network.models import model_of, random

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


def held(proto, tmp_path) -> Costs:
    return Costs(proto, None, tmp_path)


def branch(name: str, weight: np.ndarray) -> GraphProto:
    """A body x @ weight, the weight its own; x comes from outside."""
    return helper.make_graph(
        [helper.make_node("MatMul", ["x", f"{name}.w"], [f"{name}.y"])],
        name,
        [],
        [helper.make_tensor_value_info(f"{name}.y", FLOAT, None)],
        [numpy_helper.from_array(weight, f"{name}.w")],
    )


def branching():
    choose = helper.make_node(
        "If", ["c"], ["h"], then_branch=branch("a", random(4, 3)), else_branch=branch("b", random(4, 3))
    )
    nodes = [choose, helper.make_node("MatMul", ["h", "w"], ["y"])]
    return model_of(nodes, {"x": [1, 4], "c": []}, constants={"w": random(3, 2)}, types={"c": BOOL})


def test_weights_inside_branches_are_counted_and_the_branch_that_ran_multiplies(tmp_path):
    inputs = {"x": random(1, 4), "c": np.array(True)}
    costs = Costs(branching(), inputs, tmp_path)
    assert [(layer.op_type, layer.parameters, layer.bytes, layer.macs) for layer in costs.layers()] == [
        ("If", 24, 96, 12),
        ("MatMul", 6, 24, 6),
    ]


def looping(weight: np.ndarray):
    """Three times s = s @ weight, a weight from outside."""
    body = helper.make_graph(
        [helper.make_node("MatMul", ["s", "w"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", BOOL, []),
            helper.make_tensor_value_info("s", FLOAT, [2, 4]),
        ],
        [helper.make_tensor_value_info("d", BOOL, []), helper.make_tensor_value_info("t", FLOAT, [2, 4])],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)]
    return model_of(nodes, {"x": [2, 4]}, constants={"n": np.array(3), "w": weight})


def test_a_loop_counts_its_weight_once_and_its_work_every_time(tmp_path):
    costs = Costs(looping(random(4, 4)), {"x": random(2, 4)}, tmp_path, samples=1)
    assert (costs.parameters, costs.macs) == (16, 3 * 2 * 16)


def test_a_table_is_counted_and_looking_up_costs_nothing(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    proto = model_of(nodes, {"ids": [1, 5]}, constants={"table": random(10, 6)}, types={"ids": TensorProto.INT64})
    costs = Costs(proto, {"ids": np.zeros((1, 5), np.int64)}, tmp_path)
    assert (costs.parameters, costs.macs, costs.node(0).activation_bytes) == (60, 0, 5 * 6 * 4)


@pytest.mark.parametrize("kind, size", [(TensorProto.FLOAT16, 2), (TensorProto.BFLOAT16, 2), (TensorProto.DOUBLE, 8)])
def test_bytes_are_those_of_the_files_type(tmp_path, kind, size):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weight = random(3, 5).astype(helper.tensor_dtype_to_np_dtype(kind))
    proto = model_of(nodes, {"x": [1, 3]}, constants={"w": weight}, types=dict.fromkeys("xy", kind))
    costs = held(proto, tmp_path)
    assert (costs.parameters, costs.bytes) == (15, 15 * size)


def test_four_bits_are_stored_two_a_byte(tmp_path):
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model_of(nodes, {"x": [1, 4]}, constants={"s": np.float32(0.5)}, opset=21, ir_version=10)
    proto.graph.initializer.append(helper.make_tensor("q", TensorProto.INT4, (4, 3), np.arange(12) % 7))
    costs = held(proto, tmp_path)
    assert (costs.parameters, costs.nonzeros, costs.bytes) == (12, 10, 6 + 4)


def test_a_table_that_is_also_the_last_matrix_is_counted_where_it_comes_first(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("Transpose", ["table"], ["turned"]),
        helper.make_node("MatMul", ["h", "turned"], ["y"]),
    ]
    proto = model_of(nodes, {"ids": [1, 5]}, constants={"table": random(7, 3)}, types={"ids": TensorProto.INT64})
    assert [(cost.op_type, cost.parameters, cost.bytes) for cost in held(proto, tmp_path).layers()] == [
        ("Gather", 21, 84),
        ("MatMul", 0, 0),
    ]


def test_first_states_are_no_parameters(tmp_path):
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y"], hidden_size=3)]
    constants = {"w": random(1, 12, 2), "r": random(1, 12, 3), "b": random(1, 24)}
    constants |= {name: np.zeros((1, 1, 3), np.float32) for name in "hc"}
    assert held(model_of(nodes, {"x": [4, 1, 2]}, constants=constants), tmp_path).parameters == 24 + 36 + 24


def test_a_mask_that_is_added_is_no_parameter(tmp_path):
    nodes = [helper.make_node("Add", ["x", "mask"], ["a"]), helper.make_node("Add", ["a", "shift"], ["y"])]
    constants = {"mask": np.tril(np.ones((1, 4, 4), np.float32)), "shift": random(1, 1, 4)}
    proto = model_of(nodes, {"x": [1, 4, 4]}, constants=constants)
    assert [(cost.node, cost.parameters) for cost in held(proto, tmp_path).layers()] == [(1, 4)]


LAYER = st.sampled_from(["conv", "grouped", "norm", "scale", "shift", "prelu"])


@given(layers=st.lists(LAYER, min_size=1, max_size=6), seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_the_parts_make_the_whole_and_the_whole_is_what_torch_has(tmp_path_factory, layers, seed):
    nodes, constants, value = [], {}, "x"
    for place, kind in enumerate(layers):
        made, held_by = layer(kind, value, f"v{place}", seed + place)
        nodes.append(made)
        constants |= held_by
        value = f"v{place}"
    proto = model_of(nodes, {"x": [1, 4, 5, 5]}, outputs=[value], constants=constants)
    costs = Costs(proto, {"x": random(1, 4, 5, 5)}, tmp_path_factory.mktemp("scratch"))
    parts = costs.workers()
    graph = Network.from_proto(proto).graph
    assert costs.parameters == sum(part.parameters for part in parts) == sum(p.numel() for p in graph.parameters())
    assert costs.bytes == sum(part.bytes for part in parts) == sum(value.nbytes for value in constants.values())
    assert costs.macs == sum(part.macs or 0 for part in parts)


def layer(kind: str, x: str, y: str, seed: int):
    """A node from x to y on four channels, and its constants."""
    name, four = f"{y}.c", random(4, seed=seed)
    match kind:
        case "conv":
            return helper.make_node("Conv", [x, name], [y]), {name: random(4, 4, 1, 1, seed=seed)}
        case "grouped":
            weight = random(4, 2, 3, 3, seed=seed)
            made = helper.make_node("Conv", [x, name, f"{y}.b"], [y], group=2, pads=[1, 1, 1, 1])
            return made, {name: weight, f"{y}.b": four}
        case "norm":
            names = [f"{y}.{part}" for part in ("scale", "shift", "mean", "var")]
            return helper.make_node("BatchNormalization", [x, *names], [y]), dict.fromkeys(names, four**2)
        case "prelu":
            return helper.make_node("PRelu", [x, name], [y]), {name: four.reshape(4, 1, 1)}
    return helper.make_node("Mul" if kind == "scale" else "Add", [x, name], [y]), {name: four.reshape(1, 4, 1, 1)}
