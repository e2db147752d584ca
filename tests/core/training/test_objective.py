import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from core.network.network import Network
from core.training.losses import cross_entropy, distillation
from core.training.objective import Objective, Output, before_softmax, is_distribution, output_of, variance


def classifier(last: str, opset: int = 17, axis: int = 1) -> Network:
    """x (batch, 3) times a matrix, then the given operator."""
    weight = helper.make_tensor("fc.weight", TensorProto.FLOAT, [3, 4], torch.linspace(-1, 1, 12).tolist())
    nodes = [
        helper.make_node("MatMul", ["x", "fc.weight"], ["z"]),
        helper.make_node(last, ["z"], ["y"], **({"axis": axis} if "oftmax" in last else {})),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", s]) for n, s in (("x", 3), ("y", 4)))
    graph = helper.make_graph(nodes, "classifier", [x], [y], [weight])
    return Network.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 17])
def test_logits_are_taken_before_the_last_softmax(last, opset):
    network, x = classifier(last, opset), torch.randn(5, 3)
    graph, (logits,) = before_softmax(network.graph)
    assert logits is not None
    torch.testing.assert_close(graph(x)[0], x @ network.layers(having="weight")[0].weight.T)


def test_other_outputs_stay_and_share_the_weights():
    network = classifier("Relu")
    graph, (logits,) = before_softmax(network.graph)
    assert logits is None
    assert graph(torch.ones(1, 3))[0].equal(network.graph(torch.ones(1, 3))[0])
    assert {id(p) for p in graph.parameters()} == {id(p) for p in network.graph.parameters()}


@pytest.mark.parametrize(
    "value, logits, is_classifier, kind",
    [
        (torch.randn(4, 5), Output("logits", 1), False, "logits"),
        (torch.randn(4, 5).softmax(1), None, False, "probability"),
        (torch.randn(4, 5), None, True, "logits"),
        (torch.randn(4, 5), None, False, "numbers"),
        (torch.rand(4, 1), None, True, "logits"),
    ],
)
def test_an_output_is_compared_by_what_it_is(value: Tensor, logits: Output | None, is_classifier: bool, kind: str):
    assert output_of(value, logits, is_classifier).kind == kind


@pytest.mark.parametrize(
    "value, expected",
    [
        (torch.tensor([[0.2, 0.8]]), True),
        (torch.tensor([[-0.2, 1.2]]), False),
        (torch.ones(3, 1), False),
        (torch.tensor([[0.5, 0.6]]), False),
        (torch.tensor([1.0]), False),
    ],
)
def test_a_distribution_is_not_negative_and_sums_to_one(value, expected):
    assert is_distribution(value) is expected


def test_probabilities_lose_as_their_logits_do():
    mine, original = torch.randn(6, 4), torch.randn(6, 4)
    objective = Objective((Output("probability"),), temperature=3.0)
    found = objective((mine.softmax(1),), (original.softmax(1),), None)
    torch.testing.assert_close(found, distillation(mine, original, 3.0))


def test_the_weight_is_shared_between_original_and_labels():
    mine, original, labels = torch.randn(6, 4), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    objective = Objective((Output("logits"),), labels="classes", soft_weight=0.7, temperature=2.0)
    expected = 0.7 * distillation(mine, original, 2.0) + 0.3 * cross_entropy(mine, labels)
    torch.testing.assert_close(objective((mine,), (original,), labels), expected)


def test_without_labels_all_weight_is_the_originals():
    mine, original = torch.randn(6, 4), torch.randn(6, 4)
    objective = Objective((Output("logits"),), labels="classes", soft_weight=0.1)
    torch.testing.assert_close(objective((mine,), (original,), None), distillation(mine, original, 1.0))


def test_several_outputs_add_up_and_integers_are_left_out():
    mine, original = (torch.randn(3, 4) for _ in range(2))
    objective = Objective((Output("numbers", scale=2.0), Output("numbers"), Output("numbers")))
    found = objective((mine, mine, torch.ones(3).long()), (original, original, torch.zeros(3).long()), None)
    error = (mine - original).square().mean()
    torch.testing.assert_close(found, error / 2 + error)


def test_numbers_against_labels_are_relative_to_their_variance():
    labels = torch.tensor([0.0, 2.0])
    objective = Objective((Output("numbers"),), labels="numbers", soft_weight=0.0, label_scale=variance(labels))
    assert float(objective((torch.ones(2, 1),), (torch.zeros(2, 1),), labels)) == 1.0


def test_the_variance_of_a_constant_is_one_so_that_nothing_is_divided_by_zero():
    assert variance(torch.full((3,), 7.0)) == 1.0
