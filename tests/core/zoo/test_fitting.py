import pytest

from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import outline
from core.zoo.fit import Fit, compare
from core.zoo.fitting import advice, fit_to
from core.zoo.scale import Scale
from modelpress.architecture import Architecture
from modelpress.problem import CheckpointMismatch


def shapes_of(architecture: str, classes: int = 10, scale: Scale | None = None, sample: tuple[int, ...] | None = None):
    return outline(architecture, sample or ARCHITECTURES[architecture].sample_shape, classes, scale or Scale())


def asked(name: str, **fields) -> Architecture:
    return Architecture.model_validate({"name": name, **fields})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("width", [1.0, 0.35])
def test_width_classes_and_channels_are_read_off_the_tensors(architecture, width):
    _, *sides = ARCHITECTURES[architecture].sample_shape
    shapes = shapes_of(architecture, 7, Scale(width), (2, *sides))
    found = fit_to(shapes, asked(architecture))
    assert found.classes == 7
    assert found.outline() == shapes
    assert architecture == "lenet_300_100" or found.sample_shape == (2, *sides)


def test_a_depth_is_read_off_the_names():
    shapes = shapes_of("resnet50", 10, Scale(depth=0.5))
    assert fit_to(shapes, asked("resnet50")).scale.depth == 0.5


def test_images_are_the_papers_where_any_would_do_and_those_that_fit_where_not():
    assert fit_to(shapes_of("resnet50"), asked("resnet50")).sample_shape == (3, 224, 224)
    assert fit_to(shapes_of("lenet_5", sample=(3, 64, 64)), asked("lenet_5")).sample_shape == (3, 64, 64)
    assert fit_to(shapes_of("lenet_300_100", sample=(40,)), asked("lenet_300_100")).sample_shape == (40,)


def test_what_is_said_is_not_read_off():
    found = fit_to(shapes_of("resnet20"), asked("resnet20", input_shape=[3, 48, 64], width=1.0, depth=1.0, classes=10))
    assert found == Fit("resnet20", (3, 48, 64), 10)
    with pytest.raises(CheckpointMismatch, match="of another shape"):
        fit_to(shapes_of("resnet20"), asked("resnet20", classes=100))


def test_only_for_training_are_the_count_of_batches_and_auxiliary_classifiers():
    shapes = {**shapes_of("googlenet_bn"), "conv1.bn.num_batches_tracked": (), "aux1.fc1.weight": (1024, 2048)}
    assert not compare(shapes, fit_to(shapes, asked("googlenet_bn")))
    with pytest.raises(CheckpointMismatch, match=r"unexpected: aux3\.fc1\.weight"):
        fit_to({**shapes, "aux3.fc1.weight": (1, 1)}, asked("googlenet_bn"))


def test_a_mismatch_names_the_first_tensors_of_each_kind_and_counts_the_rest():
    shapes = dict(shapes_of("resnet20"))
    for place in range(5):
        shapes[f"extra.{place}"] = (1,)
    del shapes["layer1.0.bn1.weight"]
    shapes["linear.weight"] = (10, 63)
    with pytest.raises(CheckpointMismatch) as caught:
        fit_to(shapes, asked("resnet20"))
    assert caught.value.detail == (
        "the checkpoint is not that of resnet20 (10 classes, samples 3 x 32 x 32); missing: layer1.0.bn1.weight; "
        "unexpected: extra.0, extra.1, extra.2 and 2 more; of another shape: linear.weight is 10 x 63, not 10 x 64"
    )


@pytest.mark.parametrize(
    "held, said", [("resnet20", "resnet32"), ("vgg16", "resnet18"), ("wrn_16_4", "lenet_5"), ("resnet50", "resnet101")]
)
def test_a_confused_name_is_refused_and_the_right_one_told(held, said):
    with pytest.raises(CheckpointMismatch) as caught:
        fit_to(shapes_of(held), asked(said))
    assert f"The tensors are those of {held} (10 classes" in caught.value.hint


def test_names_that_no_network_has_are_near_to_none():
    shapes = {f"net.{name}": shape for name, shape in shapes_of("resnet20").items()}
    with pytest.raises(CheckpointMismatch) as caught:
        fit_to(shapes, asked("resnet20"))
    assert caught.value.hint.startswith("None is called as in the zoo: rename them (a prefix, perhaps)")


def test_images_that_can_not_be_guessed_are_asked_for():
    shapes = shapes_of("lenet_5", sample=(1, 45, 45))
    with pytest.raises(CheckpointMismatch) as caught:
        fit_to(shapes, asked("lenet_5"))
    assert "fc1.weight is 500 x 4050, not 500 x 800" in caught.value.detail
    assert "images are not the paper's, say so" in caught.value.hint
    assert fit_to(shapes, asked("lenet_5", input_shape=[1, 45, 45])).sample_shape == (1, 45, 45)


def test_tensors_of_no_network_are_told_to_come_as_onnx():
    assert "uploaded as ONNX" in advice({"encoder.weight": (3, 3)})
    with pytest.raises(CheckpointMismatch, match="missing"):
        fit_to({"encoder.weight": (3, 3)}, asked("resnet20"))


@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (2**62, 2**62), (1,) * 100])
@pytest.mark.parametrize("name", ["conv1.weight", "linear.bias", "layer1.0.conv1.weight"])
def test_absurd_shapes_are_a_mismatch_like_any_other(name, shape):
    with pytest.raises(CheckpointMismatch):
        fit_to({**shapes_of("resnet20"), name: shape}, asked("resnet20"))


def test_a_sample_that_the_network_can_not_take_is_told_as_such():
    with pytest.raises(CheckpointMismatch, match="an image side of 4 is too small for a 11 x 11 filter"):
        fit_to(shapes_of("alexnet_owt"), asked("alexnet_owt", input_shape=[3, 4, 4]))
