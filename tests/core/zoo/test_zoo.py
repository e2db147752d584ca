import math

import numpy as np
import onnx
import onnx.utils
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from core.zoo.build import build, build_between, fill
from core.zoo.builder import value_info
from modelpress.problem import ModelError, StepError

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)


def parameters(model: onnx.ModelProto) -> int:
    """Trained numbers, as the papers count them: without running statistics and integers."""
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and "running" not in tensor.name
    )


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: images})[0]


@pytest.mark.parametrize(
    "architecture, shape, expected",
    [
        ("lenet_300_100", MNIST, 266_610),
        ("lenet_5", MNIST, 431_080),
        ("resnet20", CIFAR, 269_722),
        ("resnet32", CIFAR, 464_154),
        ("resnet44", CIFAR, 658_586),
        ("resnet56", CIFAR, 853_018),
        ("resnet110", CIFAR, 1_727_962),
        ("vgg16_bn", CIFAR, 14_987_722),
    ],
)
def test_has_exactly_the_published_number_of_parameters(architecture, shape, expected):
    assert parameters(build(architecture, shape, 10)) == expected


@pytest.mark.parametrize(
    "architecture, shape", [("lenet_300_100", MNIST), ("lenet_5", MNIST), ("resnet20", CIFAR), ("vgg16_bn", CIFAR)]
)
def test_runs_in_onnxruntime_and_gives_logits_of_sensible_size(architecture, shape):
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    logits = run(build(architecture, shape, 10, width=0.5), images)
    assert logits.shape == (2, 10)
    assert 1e-2 < logits.std() < 1e2


@pytest.mark.parametrize("architecture", ["lenet_300_100", "lenet_5", "resnet20"])
def test_other_images_classes_and_widths_fit_too(architecture):
    model = build(architecture, (2, 19, 17), 3, width=0.3)
    assert run(model, np.zeros((1, 2, 19, 17), np.float32)).shape == (1, 3)


def test_resnet20_at_half_width_has_a_quarter_of_the_weights():
    full, half = (parameters(build("resnet20", CIFAR, 10, width=width)) for width in (1.0, 0.5))
    assert 3.8 < full / half < 4.0


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
    with pytest.raises(StepError, match=r"lenet_5 can't take samples of shape \(1, 8, 8\)"):
        build("lenet_5", (1, 8, 8), 10)


def test_only_a_network_that_flattens_takes_plain_vectors():
    assert run(build("lenet_300_100", (7,), 2), np.zeros((1, 7), np.float32)).shape == (1, 2)
    with pytest.raises(StepError, match="takes images"):
        build("resnet20", (7,), 2)


def test_a_checkpoint_fills_the_weights_by_name():
    source, target = build("lenet_5", MNIST, 10, seed=1), build("lenet_5", MNIST, 10, seed=2)
    fill(target, {t.name: numpy_helper.to_array(t) for t in source.graph.initializer})
    assert target.SerializeToString() == source.SerializeToString()


def test_a_checkpoint_that_lacks_a_weight_is_refused_by_the_weights_name():
    model = build("lenet_5", MNIST, 10)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name != "fc2.bias"}
    with pytest.raises(ModelError, match=r"fc2\.bias: expected shape \(10,\), the checkpoint has nothing"):
        fill(model, tensors)
