"""What a model file holds and costs: parameters, non-zeros, bytes, multiply-accumulates, memory of activations.

Counted on the file itself, quantised and compressed files like any other.
"""

import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from onnx import ModelProto, NodeProto

from core.measure.activations import peak_bytes
from core.measure.macs import macs_of
from core.measure.parameters import Holding, holdings
from core.measure.runner import RUNTIME_ERRORS, Arrays
from core.measure.scopes import Scope, all_scopes
from core.measure.trace import NodeRun, Seen, at_their_places, named_copy, node_name, sizes_by_running, trace
from core.network.sizes import BITS
from core.network.source import Source


@dataclass(frozen=True)
class LayerCost:
    """What one node of the main graph holds and does, the graphs inside it included.

    Attributes:
        macs: of one sample, None where it did not run.
        activation_bytes: of its outputs for one sample, None where it did not run.
        output_shape: of its first output as it ran.
    """

    node: int
    op_type: str
    parameters: int
    nonzeros: int
    bytes: int
    macs: int | None
    activation_bytes: int | None
    output_shape: list[int] | None


class Costs:
    """Counts on one model; see `parameters`, `macs` and `activations` for what counts as what."""

    def __init__(self, proto: ModelProto, inputs: Arrays | None, scratch: Path, samples: int | None = None) -> None:
        """
        Args:
            inputs: one run's inputs, to find shapes by running; None leaves what depends on shapes unknown.
            samples: how many samples these are; the size of the first input's first axis if left out.
        """
        self.source = Source(proto)
        self.inputs, self.scratch = inputs, scratch
        self.samples = samples or _leading(inputs)
        self.scopes = all_scopes(self.source.model)

    # what it holds

    @cached_property
    def held(self) -> dict[int, Holding]:
        """What nodes hold, by their place in the main graph; a tie at its first use."""
        return holdings(self.scopes, self.source.live(value.name for value in self.source.outputs))

    @property
    def parameters(self) -> int:
        return sum(holding.parameters for holding in self.held.values())

    @property
    def nonzeros(self) -> int:
        return sum(holding.nonzeros for holding in self.held.values())

    @property
    def bytes(self) -> int:
        """Of the stored tensors of all nodes that hold parameters."""
        return sum(holding.bytes for holding in self.held.values())

    @property
    def is_finite(self) -> bool:
        return all(holding.is_finite for holding in self.held.values())

    # what it does

    @property
    def has_run(self) -> bool:
        return self._profile is not None

    @property
    def runs(self) -> dict[str, list[NodeRun]]:
        """Runs of every node by its name in the named copy; of nodes that onnxruntime runs as several, none."""
        return self._profile or {}

    @cached_property
    def _profile(self) -> dict[str, list[NodeRun]] | None:
        """None where the model could not be run."""
        if self.inputs is None:
            return None
        copy, nodes = named_copy(self.source.model)
        try:
            found = trace(copy, self.inputs, self.scratch, is_optimised=False)
        except RUNTIME_ERRORS:
            return None
        runs: dict[str, list[NodeRun]] = defaultdict(list)
        for run in found:
            if run.name in nodes:
                runs[run.name].append(run)
        return dict(runs)

    @cached_property
    def _main(self) -> dict[str, Seen]:
        """Every value of the main graph as it went by in the run."""
        main, seen = self.scopes[0], dict[str, Seen]()
        for index, node in enumerate(main.nodes):
            for run in self.runs.get(node_name(0, index), ()):
                seen |= _named(node, run)
        wanted = [name for i, node in enumerate(main.nodes) if not main.is_folded(i) for name in node.output if name]
        if missing := [name for name in wanted if name not in seen]:
            with suppress(*RUNTIME_ERRORS):
                seen |= sizes_by_running(self.source.model, missing, self.inputs or {})
        return seen

    @cached_property
    def _macs(self) -> dict[int, int]:
        """Of the whole run by node of the main graph; work on constants is done once, at load, and left out."""
        total: dict[int, int] = defaultdict(int)
        for number, scope in enumerate(self.scopes):
            for index, node in enumerate(scope.nodes):
                if not scope.is_folded(index):
                    runs = self.runs.get(node_name(number, index), ())
                    owner = index if scope.outer is None else scope.owner
                    total[owner] += sum(self._macs_of(scope, node, run) for run in runs)
        for index in self._unprofiled:
            node = self.scopes[0].nodes[index]
            shapes = [[self._shape(name) for name in names] for names in (node.input, node.output)]
            total[index] += macs_of(node, *shapes)
        return total

    @property
    def _unprofiled(self) -> list[int]:
        """Nodes of the main graph that onnxruntime runs as several of other names."""
        main = self.scopes[0]
        return [
            index
            for index in range(len(main.nodes))
            if node_name(0, index) not in self.runs and not main.is_folded(index)
        ]

    def _macs_of(self, scope: Scope, node: NodeProto, run: NodeRun) -> int:
        inputs, outputs = at_their_places(node.input, run.inputs), at_their_places(node.output, run.outputs)
        return macs_of(node, [seen and seen.shape for seen in inputs], [seen and seen.shape for seen in outputs])

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if name in self._main:
            return self._main[name].shape
        if self.inputs and name in self.inputs:
            return self.inputs[name].shape
        held = self.source.initializers.get(name)
        return tuple(held.dims) if held is not None else None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one sample."""
        return sum(self._macs.values()) // self.samples if self.has_run else None

    @cached_property
    def peak_activation_bytes(self) -> int | None:
        """Most bytes of values that one sample needs at once; None where they could not be seen."""
        if not self.has_run:
            return None
        try:
            return self._peak(0) // self.samples
        except KeyError:
            return None

    def _peak(self, number: int) -> int:
        scope = self.scopes[number]
        nested: dict[int, list[int]] = defaultdict(list)
        for other, inner in enumerate(self.scopes):
            if inner.outer is scope and self._was_entered(other):
                nested[inner.place].append(other)
        inside = lru_cache(None)(lambda index: max(map(self._peak, nested[index]), default=0))
        return peak_bytes(scope, self._sizes(number), inside)

    def _was_entered(self, number: int) -> bool:
        return any(node_name(number, index) in self.runs for index in range(len(self.scopes[number].nodes)))

    def _sizes(self, number: int) -> dict[str, int]:
        """Bytes of a graph's values by name, the most of any run."""
        if number == 0:
            given = {name: array.nbytes for name, array in (self.inputs or {}).items()}
            return given | {name: self._bytes(name, seen) for name, seen in self._main.items()}
        sizes: dict[str, int] = defaultdict(int)
        for index, node in enumerate(self.scopes[number].nodes):
            for run in self.runs.get(node_name(number, index), ()):
                for name, seen in _named(node, run).items():
                    sizes[name] = max(sizes[name], seen.bytes)
        return dict(sizes)

    def _bytes(self, name: str, seen: Seen) -> int:
        """In the file's type; onnxruntime may run narrow floats in wider ones."""
        bits = BITS.get(self.source.element_type(name))
        return seen.bytes if bits is None else (math.prod(seen.shape) * bits + 7) // 8

    # by node

    def node(self, index: int) -> LayerCost:
        """Costs of node `index` of the main graph."""
        node, held = self.source.nodes[index], self.held.get(index, Holding())
        seen = self._main if self.has_run else {}
        names = [name for name in node.output if name]
        is_known = all(name in seen for name in names)
        return LayerCost(
            node=index,
            op_type=node.op_type,
            parameters=held.parameters,
            nonzeros=held.nonzeros,
            bytes=held.bytes,
            macs=self._macs[index] // self.samples if self.has_run else None,
            activation_bytes=sum(self._bytes(n, seen[n]) for n in names) // self.samples if is_known else None,
            output_shape=list(seen[names[0]].shape) if names and names[0] in seen else None,
        )

    def layers(self) -> list[LayerCost]:
        """Nodes that hold parameters, in order."""
        return [self.node(index) for index in self.held]

    def workers(self) -> list[LayerCost]:
        """Nodes that hold parameters or multiply, in order."""
        active = {index for index, macs in self._macs.items() if macs} if self.has_run else set()
        return [self.node(index) for index in sorted(active | set(self.held))]


def _named(node: NodeProto, run: NodeRun) -> dict[str, Seen]:
    names = [*node.input, *node.output]
    seen = [*at_their_places(node.input, run.inputs), *at_their_places(node.output, run.outputs)]
    return {name: one for name, one in zip(names, seen, strict=True) if name and one is not None}


def _leading(inputs: Arrays | None) -> int:
    first = next(iter(inputs.values())) if inputs else None
    return first.shape[0] if first is not None and first.ndim else 1
