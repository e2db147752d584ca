"""Whether a batch gives what its samples give one by one, for samples that stand at certain axes of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, fx

from core.memory import is_out_of_memory
from core.network.axes import NEW, Axes, is_free, samples_at_once, shared, to_file, to_samples
from core.network.one_sample import OneSample, first_of_one, wrapped
from core.network.samples import example_arguments
from core.network.source import Source
from core.quantizers import switched_off

BATCH = 3  # times what the file takes at once
TOLERANCE = 1e-4  # relative to the largest output: batched kernels sum in another order

T = TypeVar("T")


@dataclass
class Trial:
    """
    Attributes:
        graph: in the file's layout.
        axes: where the file's inputs have the samples, of one input at least.
        example: (samples, ...) inputs to try it on; None makes some up.
    """

    graph: fx.GraphModule
    source: Source
    axes: Axes
    example: list[Tensor] | None
    device: torch.device

    def __post_init__(self) -> None:
        self.shapes = [self.source.declared(value) for value in self.source.inputs]
        self.ranks = [len(shape) for shape in self.shapes]
        self.at_once = samples_at_once(self.shapes, self.axes) or 0
        """How many samples the file takes; 0 where its inputs disagree."""

    def holds(self, candidate: fx.GraphModule) -> Axes | None:
        """Where the outputs of a graph in the file's layout have the samples, None at those that have none.

        Returns:
            None where a batch gives something else than its samples, alone or in another order.
        """
        if NEW in self.axes or not self.pieces:
            return None
        together = self._run(candidate, self.arguments)
        outputs = None if together is None else self._outputs(together)
        if together is None or outputs is None:
            return None
        expected = zip(*self.pieces, strict=True)
        if not all(map(_is_joined, together, expected, outputs)):
            return None
        return outputs if self.at_once == 1 or self._is_in_order(candidate, together, outputs) else None

    def one_by_one(self, is_mapped: bool) -> fx.GraphModule | None:
        """The samples mapped or in a loop; None where that fails, or the file itself takes many and mixes them."""
        if not self.pieces or self._mixes or (is_mapped and self.at_once > 1):
            return None
        first = self.pieces[0]
        outputs = tuple(first_of_one(y) if self.at_once == 1 else _of_size(y, self.at_once) for y in first)
        if self.at_once > 1 and NEW in outputs:
            return None
        module = OneSample(self.graph, self.axes, self.ranks, outputs, self.at_once, is_mapped)
        found = wrapped(module, len(first))
        return found if self._is_sound(found, outputs) else None

    @cached_property
    def arguments(self) -> list[Tensor]:
        """(samples, ...) inputs, whole batches of what the file takes; those without samples as they are."""
        if self.example is None:
            return self._made_up()
        rows = len(next(x for x, axis in zip(self.example, self.axes, strict=True) if axis is not None))
        rows -= rows % max(1, self.at_once)
        return [
            shared(x, rank=rank) if axis is None else x[:rows]
            for x, axis, rank in zip(self.example, self.axes, self.ranks, strict=True)
        ]

    def _made_up(self) -> list[Tensor]:
        places = [None if axis == NEW else axis for axis in self.axes]
        together = example_arguments(self.source, BATCH * self.at_once, self.device, axes=places)
        alone = [example_arguments(self.source, device=self.device, axes=places, seed=k) for k in range(BATCH)]
        return [
            torch.stack([one[place] for one in alone]) if axis == NEW else x if axis is None else x.movedim(axis, 0)
            for place, (x, axis) in enumerate(zip(together, self.axes, strict=True))
        ]

    @cached_property
    def pieces(self) -> list[tuple[Tensor, ...]] | None:
        """What the file gives for the samples, as many together as it takes; None where it does not take them."""
        if not self.at_once:
            return None
        count = len(next(x for x, axis in zip(self.arguments, self.axes, strict=True) if axis is not None))
        starts = range(0, count, self.at_once)
        runs = [self._run(self.graph, self._rows(slice(k, k + self.at_once))) for k in starts[:1]]
        runs += [self._run(self.graph, self._rows(slice(k, k + self.at_once))) for k in starts[1:] if runs[0]]
        found = [run for run in runs if run is not None]
        return found if len(found) == len(starts) else None

    def uneven(self) -> list[str]:
        """Outputs whose sizes differ from sample to sample."""
        names = [value.name for value in self.source.outputs]
        shapes = [{part.shape for part in parts} for parts in zip(*self.pieces or (), strict=True)]
        return [name for name, found in zip(names, shapes, strict=False) if len(found) > 1]

    @cached_property
    def _mixes(self) -> bool:
        """Whether the file declares that it takes any number of samples, takes many, and gives other values for them.

        It is asked where the graph as it is does not hold.
        """
        if not is_free(self.shapes, self.axes) or NEW in self.axes:
            return False
        together = self._run(self.graph, self.arguments)
        return together is not None and self._outputs(together) is not None

    def _rows(self, rows: slice) -> list[Tensor]:
        return [x if axis is None else x[rows] for x, axis in zip(self.arguments, self.axes, strict=True)]

    def _run(self, graph: fx.GraphModule, samples: list[Tensor]) -> tuple[Tensor, ...] | None:
        """Outputs as the file lays them out; None where the graph can't take so many."""
        given = [x if axis is None else to_file(x, axis=axis) for x, axis in zip(samples, self.axes, strict=True)]
        return _attempt(graph, lambda: graph(*given))

    def _outputs(self, together: Sequence[Tensor]) -> Axes | None:
        """The axis along which each output grew with the samples, None where it did not; None if one did otherwise."""
        pieces = self.pieces or []
        found = [_grown(one, many, len(pieces), self.at_once) for one, many in zip(pieces[0], together, strict=True)]
        return None if NEW in found else tuple(found)

    def _is_in_order(self, candidate: fx.GraphModule, together: Sequence[Tensor], outputs: Axes) -> bool:
        """Whether samples in another order give the same in that order."""
        turned = self._run(candidate, self._turned)
        return turned is not None and all(
            _is_close(y if axis is None else y.flip(axis), z)
            for y, z, axis in zip(together, turned, outputs, strict=True)
        )

    @property
    def _turned(self) -> list[Tensor]:
        return [x if axis is None else x.flip(0) for x, axis in zip(self.arguments, self.axes, strict=True)]

    def _is_sound(self, found: fx.GraphModule, outputs: Sequence[int]) -> bool:
        """Whether a graph of (samples, ...) values gives the pieces, in whatever order."""
        together = _attempt(found, lambda: found(*self.arguments))
        turned = _attempt(found, lambda: found(*self._turned))
        if together is None or turned is None:
            return False
        pieces = [[to_samples(y, axis=a) for y, a in zip(piece, outputs, strict=True)] for piece in self.pieces or ()]
        joined = all(_is_joined(y, parts, 0) for y, parts in zip(together, zip(*pieces, strict=True), strict=True))
        return joined and all(_is_close(y.flip(0), z) for y, z in zip(together, turned, strict=True))


def _attempt(graph: fx.GraphModule, run: Callable[[], T]) -> T | None:
    """What a run gives; None where the graph can't take it."""
    with torch.no_grad(), switched_off(graph):  # rounding would make a step of a difference in the last bit
        try:
            return run()
        except Exception as error:  # of torch or onnxruntime, whose types have nothing in common
            if is_out_of_memory(error):
                raise
            return None


def _of_size(y: Tensor, size: int) -> int:
    return next((axis for axis, found in enumerate(y.shape) if found == size), NEW)


def _grown(one: Tensor, many: Tensor, times: int, at_once: int) -> int | None:
    """The only axis on which `many` has the samples of `times` values like `one`.

    Returns:
        None where they are alike, NEW where it is neither.
    """
    if times == 1:
        return _of_size(one, at_once)
    if one.dim() != many.dim():
        return NEW
    differing = [axis for axis in range(one.dim()) if one.shape[axis] != many.shape[axis]]
    if not differing:
        return None
    axis = differing[0]
    is_whole = len(differing) == 1 and one.shape[axis] == at_once and many.shape[axis] == times * at_once
    return axis if is_whole else NEW


def _is_joined(together: Tensor, parts: Sequence[Tensor], axis: int | None) -> bool:
    """Whether a value is its parts put together along an axis, or each of them where there is none."""
    if axis is None:
        return all(_is_close(together, part) for part in parts)
    return len({part.shape for part in parts}) == 1 and _is_close(together, torch.cat(list(parts), dim=axis))


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    found, expected = found.double(), expected.double()
    scale = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max()) if expected.numel() else 0.0
    return bool(torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(scale, 1e-6), equal_nan=True))
