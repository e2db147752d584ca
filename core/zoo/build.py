"""Networks of the zoo for given inputs and outputs, with fresh weights or with those of a checkpoint."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from core.zoo.architectures import ARCHITECTURES
from core.zoo.builder import Builder, value_info
from core.zoo.scale import Scale
from core.zoo.weights import Shape, drawn, held, shapes_only
from modelpress.problem import StepError

FULL = Scale()


def build(
    architecture: str,
    sample_shape: Sequence[int],
    classes: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    seed: int = 0,
) -> onnx.ModelProto:
    """A network from `input` (batch, *sample_shape) to `logits` (batch, classes), weights drawn from `seed`.

    Raises:
        StepError: the architecture can't take such a sample, or has no such scale.
    """
    inputs, outputs = value_info("input", sample_shape), value_info("logits", [classes])
    return build_between(architecture, inputs, outputs, sample_shape, classes, width=width, depth=depth, seed=seed)


def build_between(
    architecture: str,
    inputs: onnx.ValueInfoProto,
    outputs: onnx.ValueInfoProto,
    sample_shape: Sequence[int],
    classes: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    softmax: bool = False,
    seed: int = 0,
) -> onnx.ModelProto:
    """A network with the very input and output of another one, which it is to replace.

    Args:
        sample_shape: one sample of the input, without the batch axis: (channels, height, width), or anything
            for a network that flattens it first.
        softmax: whether the output is a probability.

    Raises:
        StepError: the architecture can't take such a sample, or has no such scale.
    """
    net = Builder(inputs.name, sample_shape, drawn(seed))
    try:
        logits = write(net, architecture, inputs.name, classes, Scale(width, depth))
    except ValueError as error:
        raise StepError(
            f"{architecture} can't be built for samples of shape {tuple(sample_shape)}: {error}",
            hint="lenet_300_100 takes samples of any shape; student: thinner always fits.",
        ) from None
    last = net.softmax(logits, "softmax") if softmax else logits
    return net.model(last, inputs, outputs, architecture)


def from_checkpoint(
    architecture: str,
    tensors: Mapping[str, np.ndarray],
    sample_shape: Sequence[int],
    classes: int,
    scale: Scale = FULL,
) -> onnx.ModelProto:
    """As `build`, with a checkpoint's tensors, which must be those that `outline` lists."""
    inputs, outputs = value_info("input", sample_shape), value_info("logits", [classes])
    net = Builder(inputs.name, sample_shape, held(tensors))
    return net.model(write(net, architecture, inputs.name, classes, scale), inputs, outputs, architecture)


def outline(architecture: str, sample_shape: Sequence[int], classes: int, scale: Scale = FULL) -> dict[str, Shape]:
    """The shape of each of its tensors by name, in order, without making any of them.

    Raises:
        ValueError: the architecture can't take such a sample, or has no such scale.
    """
    net = Builder("input", sample_shape, shapes_only)
    write(net, architecture, "input", classes, scale)
    return {name: tensor.shape for name, tensor in net.weights.items()}


def write(net: Builder, architecture: str, x: str, classes: int, scale: Scale) -> str:
    """Write the architecture behind the value `x`; returns the logits.

    Raises:
        ValueError: it can't take such a sample, or has no such scale.
    """
    found = ARCHITECTURES[architecture]
    if len(net.shapes[x]) != 3 and not found.takes_any_shape:
        raise ValueError("it takes images, (channels, height, width)")
    return found.write(net, x, classes, scale)
