"""Losses of classes, as files for training hold them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import optional_inputs, read_outputs, spread, stripped
from core.network.registry import Call, emits, operator
from core.network.values import Value

NEVER = -100
"""torch's number for targets that are left out, where the file names none."""


def likelihood_loss(x: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str, ignore: int) -> Tensor:
    """Of log probabilities (n, classes, *places) and classes (n, *places): less the one of the class at each place.

    Args:
        weight: (classes,); a mean is then over the weights.
        reduction: none, mean or sum over all places.
        ignore: targets that count for nothing.
    """
    return F.nll_loss(x, target.to(x.device, torch.int64), weight, reduction=reduction, ignore_index=ignore)


def entropy_loss(
    x: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str, ignore: int
) -> tuple[Tensor, Tensor]:
    """`likelihood_loss` of scores, and the log probabilities that these come to."""
    logs = torch.log_softmax(x, 1)
    return likelihood_loss(logs, target, weight, reduction=reduction, ignore=ignore), logs


def _literals(node: OnnxNode) -> dict[str, Any]:
    node.only("reduction", "ignore_index")
    return {"reduction": node.attribute("reduction", "mean"), "ignore": node.attribute("ignore_index", NEVER)}


@operator("NegativeLogLikelihoodLoss")
def build_likelihood_loss(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(likelihood_loss, *optional_inputs(node, 3), **_literals(node))


@operator("SoftmaxCrossEntropyLoss")
def build_entropy_loss(builder: Builder, node: OnnxNode) -> tuple[Value, ...]:
    made = spread(builder, builder.call(entropy_loss, *optional_inputs(node, 3), **_literals(node)), 2)
    return made[: len(node.proto.output)]


@emits(likelihood_loss)
def emit_likelihood_loss(out: Emission, call: Call) -> str:
    return out.node("NegativeLogLikelihoodLoss", stripped(call.inputs), name=call.base, **_attributes(call))


@emits(entropy_loss)
def emit_entropy_loss(out: Emission, call: Call) -> Any:
    return read_outputs(out, call, "SoftmaxCrossEntropyLoss", 2, **_attributes(call))


def _attributes(call: Call) -> dict[str, Any]:
    ignored = {} if call.kwargs["ignore"] == NEVER else {"ignore_index": call.kwargs["ignore"]}
    return {"reduction": call.kwargs["reduction"], **ignored}
