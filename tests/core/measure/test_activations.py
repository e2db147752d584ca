"""The most bytes that are held at once, worked out by hand."""

import numpy as np
from onnx import TensorProto, helper

from core.measure.costs import Costs
from tests.core.network.models import model_of, random

KILO = 1000  # bytes of one value of (1, 250) floats


def peak(nodes, tmp_path, outputs=("y",), batch: int = 1, **more) -> int | None:
    proto = model_of(nodes, {"x": [batch, 250]}, outputs, **more)
    return Costs(proto, {"x": random(batch, 250)}, tmp_path).peak_activation_bytes


def chain(*steps: str):
    """Unary nodes `op from to`."""
    return [helper.make_node(op, [a], [b]) for op, a, b in (step.split() for step in steps)]


def test_a_chain_holds_what_goes_in_and_what_comes_out(tmp_path):
    assert peak(chain("Relu x a", "Tanh a b", "Relu b y"), tmp_path) == 2 * KILO


def test_a_shortcut_is_held_until_it_is_added(tmp_path):
    nodes = [*chain("Relu x a", "Tanh a b", "Relu b c"), helper.make_node("Add", ["a", "c"], ["y"])]
    assert peak(nodes, tmp_path) == 3 * KILO


def test_an_output_is_held_to_the_end(tmp_path):
    assert peak(chain("Relu x a", "Tanh a b", "Relu b y"), tmp_path, ("y", "a")) == 3 * KILO


def test_a_view_holds_nothing_of_its_own_and_keeps_what_it_shows(tmp_path):
    shape = {"shape": np.array([1, 250])}
    view = helper.make_node("Reshape", ["a", "shape"], ["v"])
    assert peak([*chain("Relu x a"), view, *chain("Tanh v y")], tmp_path, ("y", "a"), constants=shape) == 2 * KILO
    later = [*chain("Tanh x b", "Relu b c"), helper.make_node("Add", ["v", "c"], ["y"])]
    assert peak([*chain("Relu x a"), view, *later], tmp_path, constants=shape) == 3 * KILO


def test_weights_and_constants_are_not_activations(tmp_path):
    nodes = [helper.make_node("Neg", ["w"], ["v"]), helper.make_node("MatMul", ["x", "v"], ["y"])]
    assert peak(nodes, tmp_path, constants={"w": random(250, 250)}) == 2 * KILO


def test_one_sample_of_a_fixed_batch(tmp_path):
    assert peak(chain("Relu x a", "Tanh a y"), tmp_path, batch=4) == 2 * KILO


def test_half_precision_takes_half(tmp_path):
    types = dict.fromkeys("xy", TensorProto.FLOAT16)
    proto = model_of(chain("Relu x a", "Tanh a y"), {"x": [1, 250]}, types=types)
    costs = Costs(proto, {"x": random(1, 250).astype(np.float16)}, tmp_path)
    assert (costs.peak_activation_bytes, costs.node(0).activation_bytes) == (KILO, KILO // 2)


def test_a_branch_is_held_beside_what_is_alive_around_it(tmp_path):
    inner = [*chain("Relu x p", "Tanh p q"), helper.make_node("Add", ["p", "q"], ["r"])]
    body = helper.make_graph(inner, "body", [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    choose = helper.make_node("If", ["c"], ["h"], then_branch=body, else_branch=body)
    nodes = [choose, helper.make_node("Add", ["x", "h"], ["y"])]
    proto = model_of(nodes, {"x": [1, 250], "c": []}, types={"c": TensorProto.BOOL})
    costs = Costs(proto, {"x": random(1, 250), "c": np.array(True)}, tmp_path)
    assert costs.peak_activation_bytes == 5 * KILO + 1  # x, h and c; p, q and r


def test_operators_that_run_as_several_are_seen_too(tmp_path):
    nodes = [
        helper.make_node("GroupNormalization", ["x", "s", "b"], ["a"], num_groups=2),
        helper.make_node("GroupNormalization", ["a", "s", "b"], ["y"], num_groups=2),
    ]
    constants = {"s": random(4), "b": random(4)}
    proto = model_of(nodes, {"x": [1, 4, 5]}, constants=constants, opset=21, ir_version=10)
    costs = Costs(proto, {"x": random(1, 4, 5)}, tmp_path)
    assert [costs.node(place).activation_bytes for place in range(2)] == [80, 80]
    assert costs.peak_activation_bytes == 160


def test_what_did_not_run_is_not_known(tmp_path):
    costs = Costs(model_of(chain("Relu x y"), {"x": [1, 3]}), None, tmp_path)
    assert (costs.peak_activation_bytes, costs.node(0).activation_bytes) == (None, None)
