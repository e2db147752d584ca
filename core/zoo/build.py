"""Build a network of the zoo for given inputs and outputs, with random weights or those of a checkpoint."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from core.zoo.architectures import ARCHITECTURES
from core.zoo.builder import Builder, value_info
from modelpress.problem import ModelError, StepError


def build(
    architecture: str, sample_shape: Sequence[int], classes: int, *, width: float = 1.0, seed: int = 0
) -> onnx.ModelProto:
    """A network from `input` (batch, *sample_shape) to `logits` (batch, classes), weights drawn from `seed`."""
    inputs, outputs = value_info("input", sample_shape), value_info("logits", [classes])
    return build_between(architecture, inputs, outputs, sample_shape, classes, width=width, seed=seed)


def build_between(
    architecture: str,
    inputs: onnx.ValueInfoProto,
    outputs: onnx.ValueInfoProto,
    sample_shape: Sequence[int],
    classes: int,
    *,
    width: float = 1.0,
    softmax: bool = False,
    seed: int = 0,
) -> onnx.ModelProto:
    """A network with the very input and output of another one, which it is to replace.

    Args:
        sample_shape: one sample of the input, without the batch axis: (channels, height, width), or anything
            for a network that flattens it first.
        softmax: whether the output is a probability.

    Raises:
        StepError: the architecture can't take such a sample.
    """
    if len(sample_shape) != 3 and architecture != "lenet_300_100":
        raise StepError(
            f"{architecture} takes images (channels, height, width), and the input {inputs.name} has samples of shape "
            f"{tuple(sample_shape)}",
            hint="lenet_300_100 takes samples of any shape; student: thinner always fits.",
        )
    net = Builder(inputs.name, sample_shape, seed)
    try:
        logits = ARCHITECTURES[architecture](net, inputs.name, classes, width)
    except ValueError as error:
        raise StepError(f"{architecture} can't take samples of shape {tuple(sample_shape)}: {error}") from None
    last = net.softmax(logits, "softmax") if softmax else logits
    return net.model(last, inputs, outputs, architecture)


def fill(model: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> None:
    """Put a checkpoint's tensors in place of the drawn ones, by name.

    Raises:
        ModelError: a weight is missing or has another shape. Tensors that the network lacks, such as
            `num_batches_tracked`, are left aside.
    """
    for initializer in model.graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        found = tensors.get(initializer.name)
        if found is None or list(found.shape) != list(initializer.dims):
            came = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise ModelError(f"{initializer.name}: expected shape {tuple(initializer.dims)}, the checkpoint has {came}")
        initializer.CopyFrom(numpy_helper.from_array(found.astype(np.float32), initializer.name))
