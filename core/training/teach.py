"""Fit a network to its original: self-distillation, with labels where they are wanted and there are any.

Works for every model and needs inputs only. Classifiers learn softened distributions (Hinton et al. 2015), other
networks the original's numbers, relative to their variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.data.samples import Samples
from core.network.network import Network
from core.training.augment import Augmentation
from core.training.fit import FitReport, Plan, fit
from core.training.lessons import PREPARING, Lesson, Lessons
from core.training.objective import Objective, Output, before_softmax, output_of, variance
from core.training.score import Score, score
from modelpress.problem import StepError
from modelpress.task import Task

if TYPE_CHECKING:
    from core.context import Context


def teach(
    network: Network,
    ctx: Context,
    *,
    epochs: float,
    learning_rate: float = 0.01,
    soft_weight: float = 1.0,
    temperature: float = 2.0,
    augmentation: Augmentation = "none",
    state: Path | None = None,
    **plan: Any,
) -> FitReport:
    """Train the network towards `ctx.original` on the training data, and leave it in its best state.

    Args:
        epochs: passes over the training data.
        learning_rate: peak step size.
        soft_weight: weight of the original's outputs; the rest goes to labels, if the task has them.
        temperature: softening of both outputs, for classifiers.
        augmentation: how training images are changed at each visit.
        state: file for the resumable state.
        plan: other fields of `Plan`.

    Raises:
        StepError: no training data, no gradient, or a network that can't take batches.
    """
    with Classroom(network, ctx, soft_weight, temperature, augmentation) as room:
        return fit(
            room.graph,
            room.objective,
            room.train,
            room.select,
            Plan(epochs, learning_rate, **plan),
            generator=ctx.generator,
            device=ctx.device,
            say=ctx.progress,
            warn=ctx.warn,
            state=state,
        )


class Classroom:
    """Student, teacher and lessons on the device; both go back to where they were at the end.

    Attributes:
        graph: the student up to its logits, on the modules of the network.
        teacher: the original up to its logits.
        objective: what is minimised.
    """

    def __init__(
        self,
        network: Network,
        ctx: Context,
        soft_weight: float = 1.0,
        temperature: float = 1.0,
        augmentation: Augmentation = "none",
    ) -> None:
        if not len(ctx.data.train):
            raise StepError("there are no training data", hint="Give a training set, or leave the step out.")
        self._network, self._ctx = network, ctx
        self._soft_weight, self._temperature = soft_weight, temperature
        self._augmentation: Augmentation = augmentation
        self._homes = network.device, ctx.original.device

    def __enter__(self) -> Classroom:
        ctx = self._ctx
        self._network.to(ctx.device)
        ctx.original.to(ctx.device)
        self.graph, _ = before_softmax(self._network.train_graph())
        self.teacher, logits = before_softmax(ctx.original.train_graph())
        self.teacher.eval()
        self._lay_out(torch.channels_last)
        first = next(self._lessons(ctx.data.train.take(PREPARING)).ordered())
        objective = objective_of(first, logits, self._network.output_names, ctx.task)
        self.objective = replace(objective, soft_weight=self._soft_weight, temperature=self._temperature)
        return self

    def __exit__(self, *_: object) -> None:
        self._lay_out(torch.contiguous_format)
        self._network.to(self._homes[0])
        self._ctx.original.to(self._homes[1])

    @cached_property
    def train(self) -> Lessons:
        return self._lessons(self._ctx.data.train, self._augmentation)

    @cached_property
    def select(self) -> Lessons | None:
        """None without such data."""
        samples = self._ctx.data.select
        return self._lessons(samples) if len(samples) else None

    def score(self) -> Score | None:
        """How good the network is now on the selection data; None without any."""
        return None if self.select is None else score(self.graph, self.select, self.objective)

    def _lessons(self, samples: Samples, augmentation: Augmentation = "none") -> Lessons:
        ctx = self._ctx
        beat = partial(ctx.progress, 0.0, "asking the original")
        return Lessons(samples, self._network.arguments, self.teacher, ctx.device, beat=beat, augmentation=augmentation)

    def _lay_out(self, layout: torch.memory_format) -> None:
        """Kernels as the device likes them; on a GPU that is channels last."""
        if self._ctx.device.type == "cuda":
            for parameter in self.graph.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=layout)


def objective_of(first: Lesson, logits: Sequence[Output | None], output_names: Sequence[str], task: Task) -> Objective:
    """What to minimise, judged by the task and some lessons.

    Args:
        logits: for each output, how it is compared where it is taken before a softmax.
    """
    judged = output_names.index(task.output) if task.output else 0
    is_classifier = task.type == "classification"
    outputs = tuple(
        output_of(value, known, is_classifier and place == judged)
        for place, (value, known) in enumerate(zip(first.wanted, logits, strict=True))
    )
    if first.labels is None or task.type == "match":
        return Objective(outputs, judged)
    if is_classifier:
        return Objective(outputs, judged, "classes")
    return Objective(outputs, judged, "numbers", label_scale=variance(first.labels))
