"""The zoo's networks are the papers': sizes, operations, and the layers of files that others made of them."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import ModelProto, numpy_helper

from core.measure.costs import Costs
from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import build, outline
from core.zoo.builder import Builder
from core.zoo.scale import Scale
from core.zoo.table import parameters, table
from core.zoo.weights import shapes_only
from modelpress.steps import StudentDistillation
from modelpress.zoo import ZooName

PUBLISHED = {  # exact, and rounded as the paper, one that compresses the network, or the torch release prints it
    "lenet_300_100": (266_610, "267K"),
    "lenet_5": (431_080, "431K"),
    "alexnet": (60_965_224, "61M"),
    "alexnet_owt": (61_100_840, "61M"),
    "nin": (966_986, "1M"),
    "all_cnn_c": (1_369_738, "1.4M"),
    "vgg16": (138_357_544, "138M"),
    "vgg19": (143_667_240, "144M"),
    "vgg16_bn": (14_987_722, "15.0M"),
    "vgg19_bn": (20_035_018, "20.04M"),
    "resnet18": (11_689_512, "11.7M"),
    "resnet34": (21_797_672, "21.8M"),
    "resnet50": (25_557_032, "25.6M"),
    "resnet101": (44_549_160, "44.5M"),
    "resnet20": (269_722, "0.27M"),
    "resnet32": (464_154, "0.46M"),
    "resnet44": (658_586, "0.66M"),
    "resnet56": (853_018, "0.85M"),
    "resnet110": (1_727_962, "1.7M"),
    "wrn_16_1": (175_066, "0.2M"),
    "wrn_16_2": (691_674, "0.7M"),
    "wrn_16_4": (2_748_890, "2.7M"),
    "wrn_16_8": (10_961_370, "11.0M"),
    "wrn_22_8": (17_158_106, "17.2M"),
    "wrn_28_10": (36_479_194, "36.5M"),
    "wrn_40_1": (563_930, "0.6M"),
    "wrn_40_2": (2_243_546, "2.2M"),
    "wrn_40_4": (8_949_210, "8.9M"),
    "densenet40": (1_019_722, "1.0M"),
    "densenet_bc_100": (769_162, "0.8M"),
    "googlenet": (6_998_552, "7.0M"),
    "googlenet_bn": (6_624_904, "6.6M"),
    "squeezenet1_0": (1_248_424, "1.248424M"),
    "squeezenet1_1": (1_235_496, "1.24M"),
    "mobilenet_v1": (4_231_976, "4.2M"),
    "mobilenet_v2": (3_504_872, "3.5M"),
}


def printed(count: int, like: str) -> str:
    """A count rounded as another one is."""
    number, unit = like[:-1], like[-1]
    digits = len(number.partition(".")[2])
    return f"{count / {'K': 1e3, 'M': 1e6}[unit]:.{digits}f}{unit}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_has_exactly_the_published_number_of_parameters(architecture):
    found = ARCHITECTURES[architecture]
    count = parameters(outline(architecture, found.sample_shape, found.classes))
    exact, paper = PUBLISHED[architecture]
    assert count == exact
    assert printed(count, paper) == paper


@pytest.mark.parametrize(
    "architecture, width, paper",
    [
        ("mobilenet_v1", 0.75, "2.6M"),
        ("mobilenet_v1", 0.5, "1.3M"),
        ("mobilenet_v1", 0.25, "0.5M"),
        ("mobilenet_v2", 1.4, "6.1M"),
        ("mobilenet_v2", 0.5, "2.0M"),
        ("mobilenet_v2", 0.35, "1.7M"),
    ],
)
def test_a_width_gives_the_published_thinner_network(architecture, width, paper):
    shapes = outline(architecture, (3, 224, 224), 1000, Scale(width=width))
    assert printed(parameters(shapes), paper) == paper


@pytest.mark.parametrize("deep, depth, shallow", [("resnet110", 0.5, "resnet56"), ("vgg19", 0.75, "vgg16")])
def test_a_depth_gives_the_published_shallower_network(deep, depth, shallow):
    sample = ARCHITECTURES[deep].sample_shape
    assert outline(deep, sample, 10, Scale(depth=depth)) == outline(shallow, sample, 10)


@pytest.mark.parametrize(
    "architecture, width, millions",
    [
        ("resnet20", 1.0, "40.6"),
        ("resnet56", 1.0, "125.5"),
        ("vgg16_bn", 1.0, "313.5"),
        ("vgg19_bn", 1.0, "398"),
        ("mobilenet_v1", 1.0, "569"),
        ("mobilenet_v1", 0.5, "149"),
        ("mobilenet_v2", 1.0, "301"),
        ("squeezenet1_0", 1.0, "819"),
        ("squeezenet1_1", 1.0, "349"),
    ],
)
def test_takes_as_many_multiplications_as_published(tmp_path, architecture, width, millions):
    sample = ARCHITECTURES[architecture].sample_shape
    model = build(architecture, sample, ARCHITECTURES[architecture].classes, width=width)
    costs = Costs(model, {"input": np.zeros((1, *sample), np.float32)}, tmp_path)
    assert costs.macs is not None
    assert f"{costs.macs / 1e6:.{len(millions.partition('.')[2])}f}" == millions


LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
LAYERS = ("Conv", "BatchNormalization", "Gemm")


@pytest.mark.parametrize(
    "file, architecture, kinds",
    [
        ("bvlc_alexnet", "alexnet", LAYERS),
        ("inception_v1", "googlenet", ("Conv",)),  # its last layer's weight goes through a Reshape
        ("resnet50", "resnet50", LAYERS),
        ("squeezenet", "squeezenet1_1", LAYERS),
        ("vgg19", "vgg19", LAYERS),
    ],
)
def test_has_the_operators_and_the_weights_of_the_file_that_others_made(file, architecture, kinds):
    theirs = onnx.load(LIGHT / f"light_{file}.onnx")
    net = Builder("input", ARCHITECTURES[architecture].sample_shape, shapes_only)
    ARCHITECTURES[architecture].write(net, "input", 1000, Scale())
    ours = Counter(net.weights[name].shape for node in net.nodes if node.op in kinds for name in node.inputs[1:])
    assert ours == weight_shapes(theirs, kinds)
    assert Counter(windows([(n.op, n.attributes) for n in net.nodes])) == Counter(
        windows([(n.op_type, {a.name: list(a.ints) for a in n.attribute}) for n in theirs.graph.node])
    )
    for kind in ("Relu", "MaxPool", "Concat", "LRN", "Conv"):
        assert count(kind, [n.op for n in net.nodes]) == count(kind, [n.op_type for n in theirs.graph.node])


def windows(nodes: list[tuple[str, dict[str, Any]]]) -> list[tuple[int, int]]:
    """Side and padding of each filter that is larger than one pixel; strides of residual blocks differ by design."""
    filters = [attributes for op, attributes in nodes if op == "Conv" and attributes["kernel_shape"] != [1, 1]]
    return [(attributes["kernel_shape"][0], (attributes.get("pads") or [0])[0]) for attributes in filters]


def count(kind: str, kinds: list[str]) -> int:
    return sum(kind == other for other in kinds)


def weight_shapes(model: ModelProto, kinds: tuple[str, ...]) -> Counter[tuple[int, ...]]:
    """Of the weights of layers, which these files make by ConstantOfShape where they are large."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = {name: tuple(tensor.dims) for name, tensor in held.items()}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(numpy_helper.to_array(held[node.input[0]]).tolist())
    layers = [node for node in model.graph.node if node.op_type in kinds]
    return Counter(shapes[name] for node in layers for name in node.input[1:])


TORCH = {  # facts of the published torch checkpoints: names, shapes, how many tensors
    "resnet18": (
        {
            "conv1.weight": (64, 3, 7, 7),
            "bn1.running_var": (64,),
            "layer1.0.conv1.weight": (64, 64, 3, 3),
            "layer2.0.downsample.0.weight": (128, 64, 1, 1),
            "layer2.0.downsample.1.bias": (128,),
            "layer4.1.bn2.weight": (512,),
            "fc.weight": (1000, 512),
            "fc.bias": (1000,),
        },
        102,
    ),
    "resnet50": (
        {
            "layer1.0.conv3.weight": (256, 64, 1, 1),
            "layer1.0.downsample.0.weight": (256, 64, 1, 1),
            "layer3.5.conv2.weight": (256, 256, 3, 3),
            "layer4.2.bn3.running_mean": (2048,),
            "fc.weight": (1000, 2048),
        },
        267,
    ),
    "vgg16": (
        {
            "features.0.weight": (64, 3, 3, 3),
            "features.2.bias": (64,),
            "features.28.weight": (512, 512, 3, 3),
            "classifier.0.weight": (4096, 25088),
            "classifier.3.weight": (4096, 4096),
            "classifier.6.bias": (1000,),
        },
        32,
    ),
    "alexnet_owt": (
        {
            "features.0.weight": (64, 3, 11, 11),
            "features.3.weight": (192, 64, 5, 5),
            "features.10.weight": (256, 256, 3, 3),
            "classifier.1.weight": (4096, 9216),
            "classifier.6.weight": (1000, 4096),
        },
        16,
    ),
    "googlenet_bn": (
        {
            "conv1.conv.weight": (64, 3, 7, 7),
            "conv3.bn.running_mean": (192,),
            "inception3a.branch1.conv.weight": (64, 192, 1, 1),
            "inception3a.branch3.1.conv.weight": (32, 16, 3, 3),
            "inception5b.branch4.1.bn.bias": (128,),
            "fc.weight": (1000, 1024),
        },
        287,
    ),
    "squeezenet1_1": (
        {
            "features.0.weight": (64, 3, 3, 3),
            "features.3.squeeze.weight": (16, 64, 1, 1),
            "features.6.expand3x3.bias": (128,),
            "features.12.expand1x1.weight": (256, 64, 1, 1),
            "classifier.1.weight": (1000, 512, 1, 1),
        },
        52,
    ),
    "mobilenet_v2": (
        {
            "features.0.0.weight": (32, 3, 3, 3),
            "features.1.conv.0.0.weight": (32, 1, 3, 3),
            "features.1.conv.2.bias": (16,),
            "features.2.conv.1.0.weight": (96, 1, 3, 3),
            "features.17.conv.3.running_var": (320,),
            "features.18.0.weight": (1280, 320, 1, 1),
            "classifier.1.weight": (1000, 1280),
        },
        262,
    ),
}


@pytest.mark.parametrize("architecture", TORCH)
def test_tensors_are_called_as_in_the_checkpoints_that_people_have(architecture):
    facts, tensors = TORCH[architecture]
    shapes = outline(architecture, (3, 224, 224), 1000)
    assert {name: shapes.get(name) for name in facts} == facts
    assert len(shapes) == tensors


def test_a_docstring_cites_each_count():
    cited = " ".join(getattr(found.write, "func", found.write).__doc__ or "" for found in ARCHITECTURES.values())
    counts = {int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", cited)}
    uncited = {name for name, (exact, _) in PUBLISHED.items() if exact not in counts}
    assert uncited <= {name for name in ARCHITECTURES if name.startswith("wrn_")}


def test_the_contract_offers_the_zoo_and_nothing_else():
    assert set(get_args(ZooName)) == set(ARCHITECTURES)
    students = StudentDistillation.model_json_schema()["properties"]["student"]["enum"]
    assert set(students) == {"thinner", *ARCHITECTURES}


def test_the_page_lists_the_zoo_as_it_is():
    page = Path(__file__).parents[3] / "docs" / "zoo.md"
    assert page.read_text("utf-8") == table(), "python -m core.zoo.table > docs/zoo.md"


def test_no_two_networks_have_the_same_tensors():
    shapes = [tuple(outline(name, a.sample_shape, 10).items()) for name, a in ARCHITECTURES.items()]
    assert len(set(shapes)) == len(shapes)
    assert all(math.prod(shape) for network in shapes for _, shape in network)
