"""Training on files that declare a batch of one: a ladder, each rung proved on random inputs.

Rung 1: the graph as it is. Rung 2: what pins the samples' axis is freed: the target shapes of reshapes, and constants
of one sample that are joined to values of many. Rung 3: `torch.func.vmap` over the graph of one sample. Rung 4: the
samples in a loop. A rung holds if a batch gives what its samples give one by one. Where each input and output has its
samples is found along the way; the batched graph has them first everywhere.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx

from core.network.axes import Axes, are_plain, for_each, likely_axes, shared, to_file, to_samples
from core.network.ops.shape import concat, reshape
from core.network.source import Source
from core.network.trial import Trial
from modelpress.problem import StepError


def batched(
    graph: fx.GraphModule, source: Source, example: list[Tensor] | None, device: torch.device
) -> fx.GraphModule:
    """A graph on the same modules that takes any number of samples, on the first axis of every input and output.

    An input without samples, a table or a scalar, stays as it is; it may also be given once a sample, all alike.

    Args:
        example: inputs to prove it on, of one sample or more on the first axis; random ones if left out.

    Raises:
        StepError: no rung of the ladder holds.
    """
    found = _climb(graph, source, example, device)
    if found is None:
        raise _refusal(_trials(graph, source, example, device))
    return found[0]


def _refusal(trials: list[Trial]) -> StepError:
    uneven = next((names for trial in trials if (names := trial.uneven())), None)
    if uneven is None:
        return StepError(
            "the network gives other results for a batch than for its samples one by one",
            hint="Export it with a dynamic batch axis.",
        )
    return StepError(
        f"how much the network gives depends on the sample, so that no batch can be made of {', '.join(uneven[:3])}",
        hint="Export it without what picks by value, such as NonMaxSuppression: with the scores of all boxes.",
    )


def sample_axes(graph: fx.GraphModule, source: Source, device: torch.device) -> Axes:
    """Where the inputs of the file have their samples: as their shapes tell, or as it is proved where these don't."""
    shapes = [source.declared(value) for value in source.inputs]
    [first, *_] = likely_axes(shapes)
    if are_plain(shapes, first):
        return first
    found = _climb(graph, source, None, device)
    return found[1] if found else first


def _climb(
    graph: fx.GraphModule, source: Source, example: list[Tensor] | None, device: torch.device
) -> tuple[fx.GraphModule, Axes] | None:
    """The graph of the first rung that holds, and where the inputs have their samples."""
    trials = _trials(graph, source, example, device)
    for is_freed in (False, True):
        for trial in trials:
            candidate = _freed(graph, trial.at_once) if is_freed else graph
            if (outputs := trial.holds(candidate)) is not None:
                return _samples_first(candidate, trial, outputs), trial.axes
    for trial in trials:
        for is_mapped in (True, False):
            if (found := trial.one_by_one(is_mapped)) is not None:
                return found, trial.axes
    return None


def _trials(graph: fx.GraphModule, source: Source, example: list[Tensor] | None, device: torch.device) -> list[Trial]:
    likely = likely_axes([source.declared(value) for value in source.inputs])
    return [Trial(graph, source, axes, example, device) for axes in likely if any(axis is not None for axis in axes)]


def _samples_first(graph: fx.GraphModule, trial: Trial, outputs: Axes) -> fx.GraphModule:
    """The graph with what moves samples to the first axis, if anything must be moved."""
    if all(axis == 0 for axis in (*trial.axes, *outputs)):
        return graph
    fresh = fx.Graph()
    given = cast("tuple[fx.Node, ...]", fresh.graph_copy(graph.graph, {}))
    placeholders = fresh.find_nodes(op="placeholder")
    for node, axis, rank in zip(placeholders, trial.axes, trial.ranks, strict=True):
        with fresh.inserting_before(next(n for n in fresh.nodes if n.op != "placeholder")):
            if axis is None:
                _instead(node, fresh.call_function(shared, (node,), {"rank": rank}))
            elif axis:
                _instead(node, fresh.call_function(to_file, (node,), {"axis": axis}))
    first = next(node for node, axis in zip(placeholders, trial.axes, strict=True) if axis is not None)
    fresh.output(tuple(_out(fresh, node, axis, first) for node, axis in zip(given, outputs, strict=True)))
    return fx.GraphModule(graph, fresh, class_name="Batched").eval()


def _instead(node: fx.Node, moved: fx.Node) -> None:
    node.replace_all_uses_with(moved, delete_user_cb=lambda user: user is not moved)


def _out(graph: fx.Graph, node: fx.Node, axis: int | None, first: fx.Node) -> fx.Node:
    if axis is None:
        return graph.call_function(for_each, (node, first))
    return graph.call_function(to_samples, (node,), {"axis": axis}) if axis else node


def _freed(graph: fx.GraphModule, at_once: int) -> fx.GraphModule:
    """The graph with the literals that pin the leading axis to the file's batch rewritten."""
    fresh = fx.Graph()
    fresh.output(fresh.graph_copy(graph.graph, {}))
    for node in fresh.nodes:
        if node.target is reshape:
            node.kwargs = _free_reshape(dict(node.kwargs), at_once)
        elif node.target is concat:
            node.target = concat_samples
    return fx.GraphModule(graph, fresh, class_name="Batched").eval()


def _free_reshape(literals: dict[str, Any], at_once: int) -> dict[str, Any]:
    """A leading 1 becomes what is left over, or the size that comes in where something else is left over."""
    shape = list(literals["shape"])
    if shape and shape[0] == at_once:
        shape[0] = 0 if -1 in shape else -1
    return {**literals, "shape": shape}


def concat_samples(*tensors: Tensor, axis: int) -> Tensor:
    """`concat` that repeats what has one sample for every sample of the others."""
    count = max(tensor.shape[0] for tensor in tensors)
    if axis % tensors[0].dim() == 0:
        return concat(*tensors, axis=axis)
    return concat(*(tensor.expand(count, *tensor.shape[1:]) for tensor in tensors), axis=axis)
