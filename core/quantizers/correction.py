"""Bias correction: rounding shifts the mean of a layer's outputs; the bias takes the shift out again.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721,
section 4.2 and appendix D: the empirical form, layer after layer, each behind the corrected ones before it. One pass
does it, as a layer's result is corrected before it is passed on.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn


def mean_outputs(graph: fx.GraphModule, inputs: Sequence[Tensor], layers: Collection[str]) -> dict[str, Tensor]:
    """(out channels,) mean over samples and places of what each of the named layers gives."""
    means: dict[str, Tensor] = {}

    def remember(node: fx.Node, y: Tensor) -> Tensor:
        means[node.meta["layer"]] = channel_mean(_module(graph, node), y)
        return y

    _run(graph, inputs, layers, remember)
    return means


def correct_biases(graph: fx.GraphModule, inputs: Sequence[Tensor], wanted: dict[str, Tensor]) -> None:
    """Shift the bias of each layer by what its mean output lacks, in graph order.

    Args:
        inputs: the very ones for which `wanted` was found before rounding.
        wanted: means by layer; layers without a bias are left alone.
    """

    def correct(node: fx.Node, y: Tensor) -> Tensor:
        module = _module(graph, node)
        if module.bias is None:
            return y
        shift = wanted[node.meta["layer"]] - channel_mean(module, y)
        module.bias += shift
        return y + (shift if isinstance(module, nn.Linear) else shift.reshape(-1, *[1] * (y.dim() - 2)))

    _run(graph, inputs, wanted, correct)


def channel_mean(module: nn.Module, y: Tensor) -> Tensor:
    """(channels,) mean: channels are last behind a linear layer, second behind a convolution."""
    channels = -1 if isinstance(module, nn.Linear) else 1
    return y.movedim(channels, 0).flatten(1).mean(1)


def _module(graph: fx.GraphModule, node: fx.Node) -> Any:
    return graph.get_submodule(str(node.target))


def _run(graph: fx.GraphModule, inputs: Sequence[Tensor], layers: Collection[str], on_output: Any) -> None:
    class Visit(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            return on_output(n, result) if n.meta.get("layer") in layers else result

    with torch.no_grad():
        Visit(graph).run(*inputs)
