"""Batches through a graph that takes a fixed number of samples, mostly one: mapped over the samples, or in a loop."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from core.network.axes import NEW, Axes, shared, to_file, to_samples

TARGET = "one_sample"


class OneSample(nn.Module):
    """Takes (samples, ...) inputs and gives (samples, ...) outputs.

    Batch norms inside keep the statistics that they have: those of single samples are no good.

    Attributes:
        graph: takes what the file takes.
        inputs: where each input of the file has its samples.
        ranks: of the file's inputs.
        outputs: where each output has them; None finds the first axis of size 1 each time.
        count: samples that the file takes at once.
        is_mapped: by torch.func.vmap; in a loop otherwise.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        inputs: Axes,
        ranks: Sequence[int],
        outputs: Axes | None,
        count: int,
        is_mapped: bool,
    ) -> None:
        super().__init__()
        self.graph, self.inputs, self.ranks, self.outputs = graph, inputs, list(ranks), outputs
        self.count, self.is_mapped = count, is_mapped

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.graph.eval()
        given = [
            shared(x, rank=rank) if axis is None else x
            for x, axis, rank in zip(inputs, self.inputs, self.ranks, strict=True)
        ]
        rows = next(len(x) for x, axis in zip(given, self.inputs, strict=True) if axis is not None)
        if not rows:
            return self._nothing(given)
        if self.is_mapped:
            over = tuple(None if axis is None else 0 for axis in self.inputs)
            return torch.func.vmap(self._mapped, in_dims=over)(*given)
        pieces = [self._piece(given, start, min(self.count, rows - start)) for start in range(0, rows, self.count)]
        return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))

    def _mapped(self, *sample: Tensor) -> tuple[Tensor, ...]:
        given = [x if axis is None else x.unsqueeze(0) for x, axis in zip(sample, self.inputs, strict=True)]
        return tuple(y.squeeze(0) for y in self._run(given))

    def _piece(self, given: list[Tensor], start: int, rows: int) -> tuple[Tensor, ...]:
        """Outputs of `rows` samples from `start`; the last one is repeated to fill what the file takes."""
        places = [start + min(k, rows - 1) for k in range(self.count)]
        piece = [x if axis is None else x[places] for x, axis in zip(given, self.inputs, strict=True)]
        return tuple(y[:rows] for y in self._run(piece))

    def _nothing(self, given: list[Tensor]) -> tuple[Tensor, ...]:
        """Outputs of no samples, of the shape that one would have."""
        blank = [
            x if axis is None else x.new_zeros((self.count, *x.shape[1:]))
            for x, axis in zip(given, self.inputs, strict=True)
        ]
        with torch.no_grad():
            return tuple(y[:0] for y in self._run(blank))

    def _run(self, given: list[Tensor]) -> list[Tensor]:
        """(count, ...) in and out."""
        moved = [x if axis is None else to_file(x, axis=axis) for x, axis in zip(given, self.inputs, strict=True)]
        found = self.graph(*moved)
        outputs = [first_of_one(y) for y in found] if self.outputs is None else self.outputs
        return [self._out(y, axis) for y, axis in zip(found, outputs, strict=True)]

    def _out(self, y: Tensor, axis: int | None) -> Tensor:
        if axis is None:
            return y.unsqueeze(0).expand(self.count, *y.shape)
        return to_samples(y, axis=axis)


def first_of_one(y: Tensor) -> int:
    """The first axis of size 1; NEW where there is none. Which one it is makes no difference to one sample."""
    return next((axis for axis, size in enumerate(y.shape) if size == 1), NEW)


def wrapped(module: OneSample, outputs: int) -> fx.GraphModule:
    """A graph that consists of this one call."""
    root = nn.Module()
    root.add_module(TARGET, module)
    graph = fx.Graph()
    given = tuple(graph.placeholder(f"input_{place}") for place in range(len(module.inputs)))
    call = graph.call_module(TARGET, given)
    graph.output(tuple(graph.call_function(operator.getitem, (call, place)) for place in range(outputs)))
    return fx.GraphModule(root, graph, class_name="OneByOne").eval()


def find_one_sample(graph: nn.Module) -> OneSample | None:
    """What runs the samples one by one, where a graph does that."""
    return next((module for module in graph.modules() if isinstance(module, OneSample)), None)


def over_inside(outer: OneSample, graph: fx.GraphModule, outputs: int) -> fx.GraphModule:
    """A graph of values inside of the one that `outer` runs, run alike."""
    return wrapped(OneSample(graph, outer.inputs, outer.ranks, None, outer.count, outer.is_mapped), outputs)
