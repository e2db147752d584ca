import numpy as np
import pytest
import torch

from core.network.network import Network
from core.techniques.distillation.student import distil_into_student, size_of
from core.zoo.build import build
from modelpress.problem import RequestInvalid, StepError
from modelpress.steps import StudentDistillation
from modelpress.validation import parse_request
from tests.core.techniques.contexts import context_for, samples_of

SMALLEST = {  # one of each family, and the side of the images that its poolings leave something of
    "alexnet": 67,
    "nin": 16,
    "all_cnn_c": 16,
    "vgg16": 32,
    "vgg19_bn": 16,
    "resnet18": 16,
    "resnet50": 16,
    "wrn_16_1": 16,
    "densenet40": 16,
    "googlenet": 40,
    "squeezenet1_1": 24,
    "mobilenet_v1": 16,
    "mobilenet_v2": 16,
}


def teacher(side: int) -> Network:
    return Network.from_proto(build("all_cnn_c", (3, side, side), 5, width=0.3, seed=7))


def data(side: int, seed: int):
    return samples_of({"input": np.random.default_rng(seed).normal(size=(16, 3, side, side)).astype(np.float32)})


@pytest.mark.parametrize("student, side", SMALLEST.items())
def test_a_student_of_each_family_learns_in_the_networks_place(tmp_path, student, side):
    network, original = teacher(side), teacher(side)
    ctx = context_for(original, tmp_path, data(side, 0), data(side, 1))
    step = StudentDistillation(student=student, width=0.125, depth=0.4, epochs=1, batch_size=16, learning_rate=1e-3)
    distil_into_student(network, step, ctx)
    fresh = Network.from_proto(build(student, (3, side, side), 5, width=0.125, depth=0.4))
    assert size_of(network) == size_of(fresh)
    outputs = network.graph(torch.randn(3, 3, side, side))[0]
    assert outputs.shape == (3, 5)
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("student", ["alexnet", "vgg16", "googlenet", "squeezenet1_0"])
def test_images_too_small_for_a_student_are_refused_with_what_would_do(tmp_path, student):
    network = teacher(12)
    ctx = context_for(network.copy(), tmp_path, data(12, 0))
    with pytest.raises(
        StepError, match=r"for samples of shape \(3, 12, 12\): an image side of \d+ is too small"
    ) as got:
        distil_into_student(network, StudentDistillation(student=student), ctx)
    assert "student: thinner always fits" in got.value.hint


def test_a_thinner_copy_has_no_depth_to_give_up():
    with pytest.raises(RequestInvalid, match="a thinner copy keeps every layer"):
        parse_request(StudentDistillation, {"student": "thinner", "depth": 0.5})
