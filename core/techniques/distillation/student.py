"""Distillation into a student: a smaller network learns the original's softened outputs and takes its place.

Hinton, Vinyals and Dean 2015, arXiv:1503.02531: loss = (1 - w) cross-entropy with the labels + w T^2 KL with the
teacher at temperature T. The student is a network of the zoo with fresh weights, or a thinner copy of the teacher:
the network cut to a fraction of its channels everywhere alike. Departure: the thinner copy starts from the
channels of the teacher with the largest norms rather than from noise, which never hurt and learns sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from core.interface import Interface, interface_of
from core.network.network import Network
from core.techniques.distillation.thinner import make_thinner
from core.techniques.registry import technique
from core.training.objective import before_softmax
from core.zoo.build import build_between
from modelpress import steps
from modelpress.problem import StepError

if TYPE_CHECKING:
    from core.context import Context


@technique(steps.StudentDistillation)
def distil_into_student(network: Network, step: steps.StudentDistillation, ctx: Context) -> None:
    teacher_size = size_of(network)
    if step.student == "thinner":
        make_thinner(network, step.width)
    else:
        network.become(from_zoo(network, step, ctx))
    ctx.note(f"student: {step.student}, {size_of(network):,} parameters where the teacher has {teacher_size:,}")
    report = ctx.fit(
        network,
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        batch_size=step.batch_size,
        soft_weight=step.soft_weight,
        temperature=step.temperature,
    )
    ctx.note(f"taught: {report}")


def size_of(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.graph.parameters())


def from_zoo(network: Network, step: steps.StudentDistillation, ctx: Context) -> Network:
    """The step's architecture between the network's own input and output.

    Raises:
        StepError: the network is not a classifier of one float32 input with a known shape.
    """
    sample, classes = shapes_of(interface_of(network.source), step.student)
    _, (logits,) = before_softmax(network.graph)
    proto = build_between(
        step.student,
        network.source.graph.input[_place_of(network)],
        network.source.graph.output[0],
        sample,
        classes,
        width=step.width,
        depth=step.depth,
        softmax=logits is not None,
        seed=int(torch.randint(2**31, (), generator=ctx.generator)),
    )
    return Network.from_proto(proto)


def shapes_of(interface: Interface, student: str) -> tuple[tuple[int, ...], int]:
    """One sample's shape and the number of classes."""
    ports = f"{'; '.join(map(str, interface.inputs))} -> {'; '.join(map(str, interface.outputs))}"
    refusal = StepError(
        f"{student} takes one float32 input of known shape to (batch, classes), and this network is {ports}",
        hint="Use `student: thinner`, which keeps the network's own form.",
    )
    if len(interface.inputs) != 1 or len(interface.outputs) != 1:
        raise refusal
    source, target = interface.inputs[0], interface.outputs[0]
    sample = tuple(size for size in source.sample_shape if isinstance(size, int))
    classes = target.shape[1] if len(target.shape) == 2 else None
    if len(sample) < len(source.sample_shape) or not isinstance(classes, int) or source.dtype != np.float32:
        raise refusal
    return sample, classes


def _place_of(network: Network) -> int:
    """Index of the one real input: old files list initialisers among the inputs."""
    return [value.name for value in network.source.graph.input].index(network.input_names[0])
