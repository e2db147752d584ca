import numpy as np
import pytest
import torch
from onnx import GraphProto, TensorProto, helper

from core.formulas import Codebook, Masked
from core.network.network import Network
from core.training.lessons import Lesson
from core.training.objective import Output
from core.training.teach import Classroom, objective_of
from core.zoo.build import build
from modelpress.problem import StepError
from modelpress.task import Classification, Match, Regression
from tests.core.techniques.contexts import context_for, samples_of

SHAPE = (1, 4, 4)


def network(seed: int = 0) -> Network:
    return Network.from_proto(build("lenet_300_100", SHAPE, 3, width=0.1, seed=seed))


def data(count: int, seed: int = 0):
    return samples_of({"input": np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)})


def test_what_a_formula_keeps_stays_as_it_is_and_what_it_computes_learns(tmp_path):
    student, original = network(1), network(2)
    mask = torch.rand(student.layer("fc1").weight.shape) > 0.5
    student.layer("fc1").reparametrise(Masked(mask))
    student.layer("fc2").reparametrise(Codebook(3))
    before = student.layer("fc1").weight.detach().clone()
    report = context_for(original, tmp_path, data(256), data(64, 1)).fit(student, epochs=3, batch_size=16)
    after = student.layer("fc1").weight
    assert not after[~mask].any()
    assert not after.equal(before)
    assert len(student.layer("fc2").weight.unique()) <= 8
    assert report.best is not None
    assert report.first is not None
    assert report.best.loss < report.first.loss


def test_the_original_is_not_touched(tmp_path):
    student, original = network(1), network(2)
    before = original.to_proto().SerializeToString()
    context_for(original, tmp_path, data(64)).fit(student, epochs=1)
    assert original.to_proto().SerializeToString() == before
    assert all(parameter.grad is None for parameter in original.graph.parameters())


def test_a_fit_starts_from_the_contexts_generator(tmp_path):
    found = []
    for seed in (5, 5, 6):
        student = network(1)
        context_for(network(2), tmp_path, data(64), seed=seed).fit(student, epochs=1, batch_size=8)
        found.append(student.to_proto().SerializeToString())
    assert found[0] == found[1] != found[2]


def branch(op: str) -> GraphProto:
    """What an If does to `z`."""
    out = helper.make_tensor_value_info(op, TensorProto.FLOAT, ["b", 3])
    return helper.make_graph([helper.make_node(op, ["z"], [op])], op, [], [out])


def test_a_network_behind_an_opaque_operator_can_not_be_trained(tmp_path):
    weight = helper.make_tensor("fc.weight", TensorProto.FLOAT, [4, 3], torch.linspace(-1, 1, 12).sin().tolist())
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", s]) for n, s in (("x", 4), ("y", 3)))
    nodes = [
        helper.make_node("MatMul", ["x", "fc.weight"], ["z"]),
        helper.make_node("If", ["always"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(nodes, "g", [x], [y], [weight, always])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    opaque = Network.from_proto(proto)
    train = samples_of({"x": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)})
    with pytest.raises(StepError, match="no gradient reaches any weight"):
        context_for(opaque.copy(), tmp_path, train).fit(opaque, epochs=1)


def test_without_training_data_it_says_so(tmp_path):
    with (
        pytest.raises(StepError, match="no training data"),
        Classroom(network(), context_for(network(), tmp_path, data(8).take(0))),
    ):
        pass


LOGITS, CLASSES = torch.tensor([[2.0, -1.0], [0.0, 1.0]]), torch.tensor([0, 1])


@pytest.mark.parametrize(
    "task, labels, kind, uses",
    [
        (Classification(), CLASSES, "logits", "classes"),
        (Classification(), None, "logits", None),
        (Match(), CLASSES, "numbers", None),
        (Regression(), CLASSES.float(), "numbers", "numbers"),
    ],
)
def test_the_task_decides_what_labels_and_outputs_mean(task, labels, kind, uses):
    objective = objective_of(Lesson((LOGITS,), (LOGITS,), labels), (None,), ["y"], task)
    assert objective.outputs[0].kind == kind
    assert objective.labels == uses


def test_labels_speak_of_the_output_that_the_task_names():
    lesson = Lesson((LOGITS,), (LOGITS, LOGITS), CLASSES)
    objective = objective_of(lesson, (None, Output("logits")), ["a", "b"], Classification(output="b"))
    assert objective.judged == 1
    assert [output.kind for output in objective.outputs] == ["numbers", "logits"]
