import numpy as np
import onnx
import pytest
import torch

from core.network.channels import analyse
from core.network.network import Network
from core.techniques.distillation.student import distil_into_student, size_of
from core.techniques.distillation.thinner import filter_norms, make_thinner
from core.zoo.build import build, build_between
from core.zoo.builder import value_info
from modelpress.problem import StepError
from modelpress.steps import StudentDistillation
from modelpress.task import Classification
from tests.core.techniques.contexts import context_for, samples_of

SHAPE = (1, 16, 16)


def teacher(batch: int | str = "batch", softmax: bool = False) -> Network:
    inputs, outputs = value_info("pixels", SHAPE, batch), value_info("scores", [5], batch)
    return Network.from_proto(build_between("lenet_5", inputs, outputs, SHAPE, 5, softmax=softmax, seed=7))


def data(count: int, seed: int, network: Network | None = None):
    x = np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)
    labels = None if network is None else network.graph(torch.from_numpy(x))[0].argmax(1).numpy()
    return samples_of({"pixels": x}, labels)


def step(**choice) -> StudentDistillation:
    return StudentDistillation(**{"epochs": 3, "batch_size": 32, "learning_rate": 0.02, **choice})


@pytest.mark.parametrize("student", ["thinner", "lenet_300_100", "resnet20"])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_student_takes_the_networks_place_and_agrees_more_with_it_than_at_the_start(tmp_path, student, softmax):
    network, original = teacher(softmax=softmax), teacher(softmax=softmax)
    ctx = context_for(original, tmp_path, data(256, 0), data(128, 1))
    distil_into_student(network, step(student=student, width=0.4), ctx)
    assert size_of(network) < size_of(original)
    assert [str(port) for port in network.source.graph.input] == [str(port) for port in original.source.graph.input]
    outputs = network.graph(torch.randn(3, *SHAPE))[0]
    assert outputs.shape == (3, 5)
    if softmax:
        torch.testing.assert_close(outputs.sum(1), torch.ones(3))
    first, best = (float(part.split("loss ")[1].split()[0]) for part in ctx.notes[-1].split(" -> "))
    assert best < 0.8 * first
    onnx.checker.check_model(network.to_proto(), full_check=True)


def test_labels_and_a_batch_of_one_work_too(tmp_path):
    network, original = teacher(batch=1), teacher(batch=1)
    train, select = data(256, 0, original), data(128, 1, original)
    ctx = context_for(original, tmp_path, train, select, Classification())
    distil_into_student(network, step(soft_weight=0.5), ctx)
    assert "right" in ctx.notes[-1]
    assert network.source.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_the_seed_decides_the_fresh_weights(tmp_path):
    found = []
    for seed in (1, 1, 2):
        network = teacher()
        ctx = context_for(teacher(), tmp_path, data(64, 0), seed=seed)
        distil_into_student(network, step(student="lenet_300_100", epochs=0.1), ctx)
        found.append(network.to_proto().SerializeToString())
    assert found[0] == found[1] != found[2]


def test_a_thinner_copy_has_the_fraction_of_channels_in_multiples_of_eight():
    network = teacher()
    make_thinner(network, 0.5)
    assert [layer.out_channels for layer in network.layers(having="weight")] == [8, 24, 248, 5]


def test_a_thinner_copy_keeps_the_largest_filters():
    network = teacher()
    with torch.no_grad():
        network.layer("conv1").weight[::2] *= 0.01
    kept = network.layer("conv1").weight[1::2].clone()
    make_thinner(network, 0.4)
    survivors = network.layer("conv1").weight
    assert all(any(filter.equal(other) for other in kept) for filter in survivors)


def test_the_norm_of_a_filter_is_its_squared_weights():
    network = teacher()
    channels = analyse(network)
    axis = channels.output_axis("conv1")
    assert axis is not None
    expected = network.layer("conv1").weight.detach().double().flatten(1).square().sum(1)
    np.testing.assert_allclose(filter_norms(network, channels)[axis.ids], expected)


def test_full_width_is_the_teacher_itself():
    network = teacher()
    make_thinner(network, 1.0)
    assert network.to_proto() == teacher().to_proto()


def test_a_network_too_small_to_thin_is_refused():
    small = Network.from_proto(build("lenet_5", SHAPE, 5, width=0.01))
    with pytest.raises(StepError, match="no channel of this network can be removed"):
        make_thinner(small, 0.5)


def test_a_network_that_is_no_classifier_gets_no_student_from_the_zoo(tmp_path):
    inputs, outputs = value_info("pixels", ("rows", "columns")), value_info("scores", [5])
    proto = build_between("lenet_300_100", inputs, outputs, (4, 4), 5)
    network = Network.from_proto(proto)
    samples = samples_of({"pixels": np.zeros((8, 4, 4), np.float32)})
    with pytest.raises(StepError, match="lenet_5 takes one float32 input of known shape"):
        distil_into_student(network, step(student="lenet_5"), context_for(network.copy(), tmp_path, samples))
