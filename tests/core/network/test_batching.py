"""Files that declare a batch of one take batches while they train; what they declare stays."""

import numpy as np
import pytest
import torch
from onnx import helper

from core.network import Network
from core.network.ops.shape import reshape
from modelpress.problem import StepError
from tests.core.network.models import model_of, random


def reshaping(shape: list[int]) -> Network:
    """Convolution, then a reshape that pins the leading axis to 1, then a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["h"]),
        helper.make_node("Reshape", ["h", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["y"]),
    ]
    constants = {"conv.weight": random(4, 3, 3, 3), "shape": np.array(shape), "fc": random(36, 5)}
    return Network.from_proto(model_of(nodes, {"x": [1, 3, 8, 8]}, constants=constants))


def one_by_one(network: Network, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([network.graph(x[k : k + 1])[0] for k in range(len(x))])


@pytest.mark.parametrize("shape", [[1, 4, 36], [1, -1, 36], [-1, 4, 36], [0, 4, 36]])
def test_a_batch_gives_what_its_samples_give(shape: list[int]):
    network = reshaping(shape)
    x = torch.from_numpy(random(5, 3, 8, 8))
    torch.testing.assert_close(network.train_graph()(x)[0], one_by_one(network, x), rtol=1e-4, atol=1e-5)


def test_a_constant_of_one_sample_is_joined_to_every_sample():
    """Zero channels of a batch of one, as in shortcuts without weights."""
    nodes = [helper.make_node("Concat", ["x", "zeros"], ["h"], axis=1), helper.make_node("Relu", ["h"], ["y"])]
    network = Network.from_proto(model_of(nodes, {"x": [1, 3, 4, 4]}, constants={"zeros": random(1, 2, 4, 4)}))
    x = torch.from_numpy(random(5, 3, 4, 4))
    assert torch.equal(network.train_graph()(x)[0], one_by_one(network, x))


def test_training_the_batched_graph_trains_the_network():
    network = reshaping([1, 4, 36])
    graph = network.train_graph()
    assert next(graph.parameters()) is next(network.graph.parameters())
    graph(torch.from_numpy(random(5, 3, 8, 8)))[0].sum().backward()
    assert network.layer("conv").weight.grad is not None


def test_what_the_file_declares_is_untouched():
    network = reshaping([1, 4, 36])
    network.train_graph()
    assert network.to_proto() is network.source
    assert network.graph.graph.find_nodes(op="call_function", target=reshape)[0].kwargs["shape"] == [1, 4, 36]


def test_a_network_that_mixes_its_samples_has_no_batched_graph():
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["s"]),
        helper.make_node("Add", ["s", "x"], ["y"]),
    ]
    network = Network.from_proto(model_of(nodes, {"x": ["n", 4]}, opset=13))
    with pytest.raises(StepError, match="one by one"):
        network.train_graph()


def test_the_proof_can_be_made_on_given_inputs():
    network = reshaping([1, 4, 36])
    assert network.train_graph({"x": torch.from_numpy(random(2, 3, 8, 8))}) is not network.graph
