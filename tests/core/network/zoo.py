"""Networks of the zoo to try, thin or in their real sizes, with every vector of weights random too."""

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import build
from tests.core.network.invariants import Subject

CLASSES = 5
THIN = 0.125
WIDTHS = {"squeezenet1_0": 0.5, "squeezenet1_1": 0.5}
"""Where an eighth would leave layers of two channels, which a ReLU may silence both."""

SMALL_IMAGES = {
    "alexnet": (3, 67, 67),
    "alexnet_owt": (3, 63, 63),
    "vgg16": (3, 32, 32),
    "vgg19": (3, 32, 32),
    "googlenet": (3, 40, 40),
}
"""The least that the pooling leaves something of."""

PIXEL = 64.0
"""How large pixels are less their mean, where a network takes them so: a normalisation across channels hardly divides
what is much smaller."""


def thin(name: str) -> Subject:
    """All layers of the network, an eighth as wide or a little more, for small images."""
    sample = ARCHITECTURES[name].sample_shape
    return _subject(name, SMALL_IMAGES.get(name, (sample[0], 24, 28)), CLASSES, WIDTHS.get(name, THIN))


def whole(name: str) -> Subject:
    """The network of the paper."""
    found = ARCHITECTURES[name]
    return _subject(name, found.sample_shape, found.classes, 1.0)


def _subject(name: str, sample: tuple[int, ...], classes: int, width: float) -> Subject:
    model = build(name, sample, classes, width=width)
    _draw_vectors(model)
    return Subject(model, {"input": np.zeros((2, *sample), np.float32)})


def _draw_vectors(model: ModelProto) -> None:
    """Scales and variances uniform in 0.5 to 1.5, biases and means normal with deviation 0.1: all different."""
    rng = np.random.default_rng(0)
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    scales = {node.input[place] for node in norms for place in (1, 4)}
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1 and tensor.data_type == TensorProto.FLOAT:
            drawn = rng.uniform(0.5, 1.5, tensor.dims) if tensor.name in scales else rng.normal(0.0, 0.1, tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(drawn.astype(np.float32), tensor.name))
    if any(node.op_type == "LRN" for node in model.graph.node):
        first = model.graph.initializer[0]
        values = numpy_helper.to_array(first) * np.float32(PIXEL)
        first.CopyFrom(numpy_helper.from_array(values, first.name))
