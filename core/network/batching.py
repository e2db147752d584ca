"""Training on files that declare a batch of one: a ladder, each rung proved on random inputs.

Rung 1: the graph as it is. Rung 2: what pins the leading axis to 1 is freed: the target shapes of reshapes, and
constants of one sample that are joined to values of many. A rung holds if a batch gives what its samples give one
by one.
"""

from typing import Any

import torch
from torch import Tensor, fx

from core.network.ops.shape import concat, reshape
from core.network.samples import example_arguments
from core.network.source import Source
from core.quantizers import switched_off
from modelpress.problem import StepError

BATCH = 3
TOLERANCE = 1e-4  # relative to the largest output: batched kernels sum in another order


def batched(
    graph: fx.GraphModule, source: Source, example: list[Tensor] | None, device: torch.device
) -> fx.GraphModule:
    """A graph on the same modules that takes any number of samples.

    Args:
        example: inputs to prove it on, of one sample or more; random ones if left out.

    Raises:
        StepError: no rung of the ladder holds.
    """
    arguments = example if example is not None else example_arguments(source, batch=BATCH, device=device)
    for rung in (_as_is, _freed):
        candidate = rung(graph)
        if _holds(candidate, graph, arguments):
            return candidate
    raise StepError(
        "the network gives other results for a batch than for its samples one by one",
        hint="Export it with a dynamic batch axis.",
    )


def _as_is(graph: fx.GraphModule) -> fx.GraphModule:
    return graph


def _freed(graph: fx.GraphModule) -> fx.GraphModule:
    """The graph with the literals that pin the leading axis to 1 rewritten."""
    fresh = fx.Graph()
    fresh.output(fresh.graph_copy(graph.graph, {}))
    for node in fresh.nodes:
        if node.target is reshape:
            node.kwargs = _free_reshape(dict(node.kwargs))
        elif node.target is concat:
            node.target = concat_samples
    return fx.GraphModule(graph, fresh, class_name="Batched").eval()


def _free_reshape(literals: dict[str, Any]) -> dict[str, Any]:
    """A leading 1 becomes what is left over, or the size that comes in where something else is left over."""
    shape = list(literals["shape"])
    if shape and shape[0] == 1:
        shape[0] = 0 if -1 in shape else -1
    return {**literals, "shape": shape}


def concat_samples(*tensors: Tensor, axis: int) -> Tensor:
    """`concat` that repeats what has one sample for every sample of the others."""
    count = max(tensor.shape[0] for tensor in tensors)
    if axis % tensors[0].dim() == 0:
        return concat(*tensors, axis=axis)
    return concat(*(tensor.expand(count, *tensor.shape[1:]) for tensor in tensors), axis=axis)


def _holds(candidate: fx.GraphModule, graph: fx.GraphModule, arguments: list[Tensor]) -> bool:
    """Whether a batch through `candidate` equals its samples through `graph`, one by one, put together."""
    with torch.no_grad(), switched_off(graph):  # rounding would make a step of a difference in the last bit
        try:
            together = candidate(*arguments)
            count = arguments[0].shape[0]
            singles = [graph(*(argument[k : k + 1] for argument in arguments)) for k in range(count)]
        except (RuntimeError, ValueError, IndexError):
            return False
    return all(_equal(batch, [single[k] for single in singles]) for k, batch in enumerate(together))


def _equal(batch: Tensor, singles: list[Tensor]) -> bool:
    if singles[0].dim() == 0 or batch.shape[0] != len(singles):
        return False
    expected = torch.cat(singles)
    if expected.shape != batch.shape:
        return False
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return bool(torch.allclose(batch.double(), expected.double(), rtol=0, atol=TOLERANCE * max(scale, 1e-6)))
