"""Shapes of all values, found by running once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from core.memory import is_out_of_memory
from core.network.axes import NEW, samples_at_once
from core.network.checks import describe
from core.network.samples import example_arguments
from core.wording import message_of
from modelpress.problem import ModelError, ProblemError

if TYPE_CHECKING:
    from core.network.network import Network

Shape = tuple[int, ...]


def value_shapes(network: Network) -> dict[fx.Node, Shape | list[Shape]]:
    """Shape of what each node gives, a list of shapes where it gives several, for the declared batch or one sample.

    Raises:
        ModelError: a node can't be computed; it is named.
    """
    declared = [network.index.declared(value) for value in network.index.inputs]
    axes = [None if axis == NEW else axis for axis in network.sample_axes()]
    batch = samples_at_once(declared, axes) or 1
    recorder = _Recorder(network)
    with torch.inference_mode():
        recorder.run(*example_arguments(network.index, batch, network.device, axes=axes))
    return recorder.shapes


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the shapes alone."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.graph)
        self.network = network
        self.extra_traceback = False  # what it would add to a message is about fx, not about the model
        self.shapes: dict[fx.Node, Shape | list[Shape]] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:  # of torch or onnxruntime, whose types have nothing in common
            if isinstance(error, ProblemError) or is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self._called(n)} can't be computed on made-up inputs: {message_of(error)}",
                hint="Where the model leaves sizes of its inputs open, declare them.",
            ) from error
        if isinstance(result, Tensor):
            self.shapes[n] = tuple(result.shape)
        elif n.op != "output":
            self.shapes[n] = [tuple(one.shape) for one in result]
        return result

    def _called(self, n: fx.Node) -> str:
        """How the ONNX node is called that a node came from."""
        source = n.meta.get("source")
        return describe(self.network.index.nodes[source[0]]) if source else str(n.meta.get("layer") or n.name)
