import math

import numpy as np
import onnx
import onnx.utils
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from core.network.network import Network
from core.network.registry import is_native
from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import build, build_between, from_checkpoint, outline
from core.zoo.builder import value_info
from core.zoo.scale import Scale
from core.zoo.table import parameters
from modelpress.problem import ModelTooLarge, StepError

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {model.graph.input[0].name: images})[0])


TINY = {
    "alexnet": (3, 67, 67),
    "alexnet_owt": (3, 63, 63),
    "vgg16": (3, 32, 32),
    "vgg19": (3, 32, 32),
    "googlenet": (3, 40, 40),
}
"""The least that the pooling leaves something of."""


def tiny(architecture: str) -> tuple[int, ...]:
    sample = ARCHITECTURES[architecture].sample_shape
    return TINY.get(architecture, (sample[0], 24, 28))


DEEP = {"resnet101", "resnet110", "resnet56", "resnet44", "wrn_40_1", "wrn_40_2", "wrn_40_4", "densenet_bc_100"}
"""Built no deeper than a third here: the same code, several times over."""
CASES = [(name, 1.0) for name in ARCHITECTURES if name not in DEEP]
CASES += [(name, 0.34) for name in ARCHITECTURES if name != "lenet_5"]


@pytest.mark.parametrize("architecture, depth", CASES)
def test_runs_in_onnxruntime_as_in_torch_and_tells_images_apart(architecture, depth):
    shape = tiny(architecture)
    model = build(architecture, shape, 5, width=0.125, depth=depth)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    logits = run(model, images)
    assert logits.shape == (2, 5)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3 * np.abs(logits).max()
    network = Network.from_proto(model)
    torch_logits = network({"input": torch.from_numpy(images)})["logits"].detach().numpy()
    assert np.abs(torch_logits - logits).max() <= 1e-4 * np.abs(logits).max()
    assert all(is_native(node) for node in network.index.nodes)


@pytest.mark.parametrize("architecture", ["lenet_300_100", "lenet_5", "resnet20"])
def test_other_images_classes_and_widths_fit_too(architecture):
    model = build(architecture, (2, 19, 17), 3, width=0.3)
    assert run(model, np.zeros((1, 2, 19, 17), np.float32)).shape == (1, 3)


def test_half_the_width_is_a_quarter_of_the_weights():
    full, half = (parameters(outline("resnet20", CIFAR, 10, Scale(width))) for width in (1.0, 0.5))
    assert 3.8 < full / half < 4.0


@pytest.mark.parametrize(
    "architecture, kind",
    [(name, kind) for name in ARCHITECTURES for kind in ("width", "depth") if (name, kind) != ("lenet_5", "depth")],
)
def test_the_smallest_scale_still_has_a_layer_of_each_stage(architecture, kind):
    found = ARCHITECTURES[architecture]
    small = outline(architecture, found.sample_shape, found.classes, Scale(**{kind: 1e-6}))
    full = outline(architecture, found.sample_shape, found.classes)
    assert 0 < parameters(small) < parameters(full)
    assert all(math.prod(shape) for shape in small.values())
    if kind == "width":
        assert small.keys() == full.keys() or architecture.startswith("wrn")  # which may do without a projection


def test_the_seed_decides_the_weights():
    first, again, other = (build("lenet_5", MNIST, 10, seed=seed) for seed in (1, 1, 2))
    assert first.SerializeToString() == again.SerializeToString() != other.SerializeToString()


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_on_both_sides():
    model = onnx.shape_inference.infer_shapes(build("resnet20", CIFAR, 10))
    inner = onnx.utils.Extractor(model).extract_model(["layer1.2.relu2.out"], ["layer2.0.shortcut.out"])
    x = np.random.default_rng(0).normal(size=(1, 16, 32, 32)).astype(np.float32)
    y = run(inner, x)
    assert y.shape == (1, 32, 16, 16)
    assert np.array_equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_a_student_takes_over_names_batch_axis_and_softmax():
    inputs, outputs = value_info("pixels", MNIST, 1), value_info("probabilities", [10], 1)
    model = build_between("lenet_5", inputs, outputs, MNIST, 10, softmax=True)
    assert model.graph.input[0] == inputs
    assert model.graph.output[0] == outputs
    assert run(model, np.ones((1, *MNIST), np.float32)).sum() == pytest.approx(1.0, abs=1e-5)


def test_an_image_too_small_for_the_network_is_refused_with_its_size():
    with pytest.raises(StepError, match=r"lenet_5 can't be built for samples of shape \(1, 8, 8\)"):
        build("lenet_5", (1, 8, 8), 10)


def test_only_a_network_that_flattens_takes_plain_vectors():
    assert run(build("lenet_300_100", (7,), 2), np.zeros((1, 7), np.float32)).shape == (1, 2)
    with pytest.raises(StepError, match="takes images"):
        build("resnet20", (7,), 2)


def test_a_depth_that_there_is_not_is_refused():
    with pytest.raises(StepError, match="no depth to scale"):
        build("lenet_5", MNIST, 10, depth=0.5)


def test_weights_that_no_memory_holds_are_refused_before_they_are_drawn():
    with pytest.raises(ModelTooLarge, match="a tensor of shape"):
        build("vgg16", (3, 100_000, 100_000), 10)


def test_a_checkpoint_takes_the_place_of_the_drawn_weights():
    source = build("lenet_5", MNIST, 10, seed=1)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
    assert from_checkpoint("lenet_5", tensors, MNIST, 10).SerializeToString() == source.SerializeToString()
