"""Shapes of all values, found by running once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from core.network.samples import example_arguments

if TYPE_CHECKING:
    from core.network.network import Network

Shape = tuple[int, ...]


def value_shapes(network: Network) -> dict[fx.Node, Shape | list[Shape]]:
    """Shape of what each node gives, a list of shapes where it gives several, for the declared batch or one sample."""
    declared = [network.index.declared(value) for value in network.index.inputs]
    batch = next((shape[0] for shape in declared if shape and isinstance(shape[0], int)), 1)
    recorder = _Recorder(network.graph)
    with torch.inference_mode():
        recorder.run(*example_arguments(network.index, batch, network.device))
    return recorder.shapes


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the shapes alone."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.shapes: dict[fx.Node, Shape | list[Shape]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        elif n.op != "output":
            self.shapes[n] = [tuple(one.shape) for one in result]
        return result
