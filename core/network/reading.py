"""What the importer read, kept beside the source to tell later what was changed.

Weights are not kept a second time: their marks are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from onnx import NodeProto
from torch import Tensor, fx, nn

from core.network.marks import Mark
from core.network.opaque import OpaqueNode
from core.network.owned import Owned

HYPERPARAMETERS = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "padding_mode",
    "transposed",
    "eps",
    "momentum",
    "p",
    "options",
)
NOT_STORED = {"num_batches_tracked"}


@dataclass(frozen=True, eq=False)
class Part:
    """A node of the normal form as it was read.

    Attributes:
        args: other parts and literals.
        value: name of the ONNX value that it makes, if it makes one.
        source: index of the source node and which of its parts this is; None for inputs and constants.
        module: what it calls, if it is a call_module.
        marks: of its module's tensors, by attribute; a get_attr's own under its target.
    """

    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: str | None
    source: tuple[int, int] | None
    module: ModuleRecord | None = None
    marks: dict[str, Mark] = field(default_factory=dict)


@dataclass(frozen=True)
class ModuleRecord:
    """A module without its tensors."""

    kind: type[nn.Module]
    settings: dict[str, Any]
    groups: int
    node: NodeProto | None  # of an opaque module


class Reading:
    """The normal form as it was read.

    Attributes:
        parts: by index of the source node, then by part.
        constants: what get_attr nodes read, by the name of the value.
    """

    def __init__(self, graph: fx.GraphModule, owned: Owned) -> None:
        self.parts: dict[int, dict[int, Part]] = {}
        self.constants: dict[str, Mark] = {}
        known: dict[fx.Node, Part] = {}
        for node in graph.graph.nodes:
            if node.op != "output":
                self._add(_part_of(node, graph, owned, known), known, node)

    def _add(self, part: Part, known: dict[fx.Node, Part], node: fx.Node) -> None:
        known[node] = part
        if part.op == "get_attr":
            if part.value:
                self.constants[part.value] = part.marks[part.target]
        elif part.source is not None:
            index, number = part.source
            self.parts.setdefault(index, {})[number] = part


def _part_of(node: fx.Node, graph: fx.GraphModule, owned: Owned, known: dict[fx.Node, Part]) -> Part:
    args = tuple(known[argument] if isinstance(argument, fx.Node) else argument for argument in node.args)
    source = node.meta.get("source")
    place = (source[0], node.meta["part"]) if source and node.op != "get_attr" else None
    module, tensors = None, {}
    if node.op == "call_module":
        called = graph.get_submodule(str(node.target))
        module, tensors = _record(called), dict(stored(called))
    elif node.op == "get_attr":
        tensors = {str(node.target): getattr(graph, str(node.target))}
    marks = {name: Mark.of(tensor, owned.name(tensor)) for name, tensor in tensors.items()}
    return Part(node.op, node.target, args, dict(node.kwargs), node.meta.get("value"), place, module, marks)


def _record(module: nn.Module) -> ModuleRecord:
    node = module.node if isinstance(module, OpaqueNode) else None
    return ModuleRecord(type(module), settings(module), groups_of(module), node)


def settings(module: nn.Module) -> dict[str, Any]:
    """What a module computes with apart from its tensors."""
    own = vars(module)
    return {name: own.get(name) for name in HYPERPARAMETERS}


def groups_of(module: nn.Module) -> int:
    """Which removing channels changes without changing what the layer is."""
    return getattr(module, "groups", 1)


def stored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers that a file holds."""
    yield from ((name, tensor) for name, tensor in module._parameters.items() if tensor is not None)
    buffers = module._buffers.items()
    yield from ((name, tensor) for name, tensor in buffers if tensor is not None and name not in NOT_STORED)
