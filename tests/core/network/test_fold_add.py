import numpy as np
import pytest
import torch
from onnx import helper

from core.network import Network
from core.network.fold_add import fold_additions
from tests.core.network.models import model_of, random, run_onnx

PRODUCT = helper.make_node("MatMul", ["x", "w"], ["h"])


@pytest.mark.parametrize("inputs", [["h", "b"], ["b", "h"]])
@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_a_sum_becomes_the_bias_of_the_product_before_it(inputs, shape):
    nodes = [PRODUCT, helper.make_node("Add", inputs, ["y"])]
    model = model_of(nodes, {"x": ["n", 4]}, constants={"w": random(4, 5), "b": random(*shape, seed=1)})
    network = Network.from_proto(model)
    assert len(fold_additions(network)) == 1
    x = random(3, 4, seed=2)
    expected = run_onnx(model, {"x": x})[0]
    assert np.allclose(network({"x": torch.from_numpy(x)})["y"].detach().numpy(), expected, atol=1e-6)
    made = network.to_proto()
    assert [node.op_type for node in made.graph.node] == ["Gemm"]
    assert np.allclose(run_onnx(made, {"x": x})[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "nodes, shape, bias",
    [
        ([PRODUCT, helper.make_node("Add", ["h", "b"], ["y"])], ["n", 3, 4], (5,)),
        ([PRODUCT, helper.make_node("Add", ["h", "b"], ["y"])], ["n", 4], (1,)),
        ([PRODUCT, helper.make_node("Add", ["h", "b"], ["y"])], [5, 4], (5, 1)),
        ([PRODUCT, helper.make_node("Mul", ["h", "b"], ["y"])], ["n", 4], (5,)),
        ([PRODUCT, helper.make_node("Add", ["h", "h"], ["y"])], ["n", 4], (5,)),
        (
            [PRODUCT, helper.make_node("Add", ["h", "b"], ["s"]), helper.make_node("Mul", ["s", "h"], ["y"])],
            ["n", 4],
            (5,),
        ),
    ],
    ids=["three axes", "one number", "a column", "no sum", "no constant", "used twice"],
)
def test_other_sums_are_left_alone(nodes, shape, bias):
    model = model_of(nodes, {"x": shape}, constants={"w": random(4, 5), "b": random(*bias, seed=1)})
    network = Network.from_proto(model)
    assert fold_additions(network) == []
    assert network.to_proto() == model
