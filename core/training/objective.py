"""What a fit minimises: which values are compared, and how, for any network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx

from core.network.ops.reduction import log_softmax, log_softmax_from, softmax, softmax_from
from core.training import losses

Kind = Literal["logits", "probability", "numbers"]
LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Output:
    """How one output is compared.

    Attributes:
        kind: `probability` means that log p stands for the logits.
        dim: axis of the classes.
        flat: whether all axes behind the first are classes.
        scale: variance of the original's values, for `numbers`.
    """

    kind: Kind
    dim: int = 1
    flat: bool = False
    scale: float = 1.0

    def prepared(self, value: Tensor) -> Tensor:
        value = value.float().flatten(1) if self.flat else value.float()
        return value.clamp_min(LEAST_PROBABILITY).log() if self.kind == "probability" else value


@dataclass(frozen=True)
class Objective:
    """The loss: soft_weight x distance to the original + the rest x distance to the labels.

    Attributes:
        outputs: how each output of the graph is compared.
        judged: index of the output that labels speak of.
        labels: `classes`, `numbers`, or None where labels are not used.
        label_scale: variance of the labels, for `numbers`.
    """

    outputs: tuple[Output, ...]
    judged: int = 0
    labels: Literal["classes", "numbers"] | None = None
    soft_weight: float = 1.0
    temperature: float = 1.0
    label_scale: float = 1.0

    def __call__(self, found: Sequence[Tensor], wanted: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        soft = self.soft_weight if self.labels is not None and labels is not None else 1.0
        loss = found[0].new_zeros((), dtype=torch.float32)
        if soft > 0:
            loss = loss + soft * self._distance(found, wanted)
        if soft < 1:
            assert labels is not None
            loss = loss + (1 - soft) * self._label_loss(found[self.judged], labels)
        return loss

    def _distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Sum over the outputs that are floating."""
        terms = []
        for output, mine, original in zip(self.outputs, found, wanted, strict=True):
            if not mine.is_floating_point():
                continue
            if output.kind == "numbers":
                terms.append(losses.relative_error(mine, original, output.scale))
            else:
                pair = output.prepared(mine), output.prepared(original)
                terms.append(losses.distillation(*pair, self.temperature, output.dim))
        return torch.stack(terms).sum()

    def _label_loss(self, found: Tensor, labels: Tensor) -> Tensor:
        if self.labels == "classes":
            return losses.cross_entropy(self.outputs[self.judged].prepared(found), labels)
        return losses.relative_error(found.flatten(1), labels.reshape(len(labels), -1), self.label_scale)

    def count_correct(self, found: Sequence[Tensor], labels: Tensor) -> Tensor:
        return losses.correct(found[self.judged], labels)


def before_softmax(graph: fx.GraphModule) -> tuple[fx.GraphModule, tuple[Output | None, ...]]:
    """The same modules, with outputs taken before a last Softmax or LogSoftmax.

    Returns:
        The graph and, for each output, how its logits are compared, or None where no softmax was left out.
    """
    copy = fx.Graph()
    outputs = copy.graph_copy(graph.graph, {})
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    bare = [_inner(value) for value in values if isinstance(value, fx.Node)]
    copy.output(tuple(value for value, _ in bare))
    result = fx.GraphModule(graph, copy)
    result.graph.eliminate_dead_code()
    result.recompile()
    return result, tuple(logits for _, logits in bare)


def _inner(value: fx.Node) -> tuple[fx.Node, Output | None]:
    source = value.args[0] if value.args else None
    if not isinstance(source, fx.Node):
        return value, None
    axis = value.kwargs.get("axis")
    if value.target in (softmax, log_softmax) and isinstance(axis, int):
        return source, Output("logits", axis)
    if value.target in (softmax_from, log_softmax_from) and axis == 1:
        return source, Output("logits", flat=True)
    return value, None


def output_of(value: Tensor, logits: Output | None, is_classifier: bool) -> Output:
    """How an output is compared, judged by the original's values.

    Logits where a softmax was left out or labels name classes; log p where every row is a distribution;
    otherwise numbers.
    """
    if logits is not None:
        return logits
    if is_distribution(value):
        return Output("probability")
    if is_classifier and value.dim() > 1:
        return Output("logits")
    return Output("numbers", scale=variance(value))


def is_distribution(value: Tensor) -> bool:
    """Whether axis 1 holds several numbers from 0 to 1 that sum to 1."""
    if value.dim() < 2 or value.shape[1] < 2 or not value.is_floating_point():
        return False
    sums = value.float().sum(1)
    return bool(value.min() >= 0) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def variance(value: Tensor) -> float:
    """Of all elements together; 1 where they don't vary."""
    found = float(value.float().var(correction=0)) if value.is_floating_point() or value.numel() else 0.0
    return found if found > 0 else 1.0
