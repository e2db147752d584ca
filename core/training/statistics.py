"""Statistics won back without training: of batch norms, or of each channel where the norms are folded away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from core.formulas import formula_of
from core.network.one_sample import find_one_sample

BatchNorm = nn.modules.batchnorm._BatchNorm
MOST_BYTES = 2**30
"""Of values alive at once while one pass goes through the network node by node."""
NARROWEST, WIDEST = 0.25, 4.0
"""Bounds on a channel's correction: beyond them the channel is dead, not shifted."""


def norms_of(graph: nn.Module) -> list[BatchNorm]:
    """Batch norms that keep running statistics."""
    return [module for module in graph.modules() if isinstance(module, BatchNorm) and module.running_mean is not None]


@torch.no_grad()
def reestimate(graph: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]) -> int:
    """Replace the running statistics of every batch norm by the plain mean over the batches.

    Within a batch each norm already uses the batch's own statistics, so that a norm sees what the norms before
    it give with their new ones.

    Returns:
        How many norms there are. Without any, without a batch, or where the graph runs its samples one by one,
        nothing is changed.
    """
    norms = [] if find_one_sample(graph) else norms_of(graph)
    momenta = [norm.momentum for norm in norms]
    graph.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    for arguments in batches if norms else ():
        graph(*arguments)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    graph.eval()
    return len(norms)


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of each channel, (channels,) both."""

    mean: Tensor
    deviation: Tensor


def moments_of(value: Tensor, axis: int) -> Moments:
    """Over every axis but the channels'."""
    rows = value.detach().double().movedim(axis, 0).flatten(1)
    return Moments(rows.mean(1), rows.std(1, correction=0))


def channel_axis(module: nn.Module) -> int:
    """Where a layer's output has its channels."""
    return -1 if isinstance(module, nn.Linear) else 1


See = Callable[[str, Any, Tensor, Tensor], Tensor]


class _Watch(fx.Interpreter):
    """Runs a graph node by node. Each watched layer's name, module, input and output go to a function, which
    answers with the output to go on with."""

    def __init__(self, graph: fx.GraphModule, watched: Collection[str], see: See) -> None:
        super().__init__(graph)
        self._watched, self._see = watched, see

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = str(n.meta.get("layer", ""))
        if name not in self._watched:
            return result
        args, _ = self.fetch_args_kwargs_from_env(n)
        return self._see(name, self.fetch_attr(str(n.target)), args[0], result)


@torch.no_grad()
def layer_moments(graph: fx.GraphModule, arguments: tuple[Tensor, ...], layers: Collection[str]) -> dict[str, Moments]:
    """Moments of the outputs of the named layers."""
    found: dict[str, Moments] = {}

    def see(name: str, module: nn.Module, value: Tensor, output: Tensor) -> Tensor:
        found[name] = moments_of(output, channel_axis(module))
        return output

    _Watch(graph, layers, see).run(*arguments)
    return found


@torch.no_grad()
def correct_channels(graph: fx.GraphModule, arguments: tuple[Tensor, ...], wanted: Mapping[str, Moments]) -> int:
    """Give the output channels of the named layers the mean and deviation they should have, first layer first.

    Each layer is seen with the layers before it corrected already. A weight that a formula computes keeps its
    scale, and only its mean is corrected (Nagel et al. 2019, arXiv:1906.04721, section 4.2).

    Returns:
        How many layers were corrected; a layer with another number of channels than wanted is left alone.
    """
    corrected = 0

    def see(name: str, module: Any, value: Tensor, output: Tensor) -> Tensor:
        nonlocal corrected
        axis = channel_axis(module)
        found, target = moments_of(output, axis), wanted[name]
        if len(found.mean) != len(target.mean):
            return output
        scale = torch.ones_like(found.mean)
        if formula_of(module) is None:
            scale = (target.deviation / found.deviation.clamp_min(1e-12)).nan_to_num(1.0)
            scale = torch.where((scale > NARROWEST) & (scale < WIDEST), scale, 1.0)
        corrected += 1
        rescale(module, scale.to(output.dtype), (target.mean - scale * found.mean).to(output.dtype))
        return module(value)

    _Watch(graph, wanted, see).run(*arguments)
    return corrected


def rescale(module: Any, scale: Tensor, shift: Tensor) -> None:
    """Let a layer's output channels be scale x what they were + shift, (channels,) both."""
    if formula_of(module) is None:
        axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
        module.weight.data = module.weight * scale.reshape(-1, *(1 for _ in range(module.weight.dim() - axis - 1)))
    bias = shift if module.bias is None else module.bias.detach() * scale + shift
    formula = formula_of(module, "bias")
    if formula is not None:
        formula.fit(bias)
    else:
        module.bias = nn.Parameter(bias)


class _Weigh(fx.Interpreter):
    """Runs a graph and remembers how many bytes were alive at most."""

    peak = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        alive = (value for value in (*self.env.values(), result) if isinstance(value, Tensor))
        self.peak = max(self.peak, sum(value.numel() * value.element_size() for value in alive))
        return result


@torch.no_grad()
def samples_that_fit(graph: fx.GraphModule, one: tuple[Tensor, ...], most: int) -> int:
    """How many samples may go through the graph at once within `MOST_BYTES`, from 1 to `most`.

    Args:
        one: arguments of one sample.
    """
    scales = _Weigh(graph)
    scales.run(*one)
    return max(1, min(most, MOST_BYTES // max(1, scales.peak)))
