"""The two tables that import and export consist of: operator -> builder, and function or module -> emitter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import NodeProto
from torch import fx, nn

from core.network.emission import Emission

if TYPE_CHECKING:
    from core.network.importer import Builder
    from core.network.onnx_node import OnnxNode
    from core.network.values import Value


@dataclass(frozen=True)
class Call:
    """One node of the normal form that is to be written.

    Attributes:
        node: the fx node.
        module: what it calls, if it is a call_module.
        inputs: value names of its tensor arguments, in order.
        kwargs: its literals.
        base: what the names of new values derive from.
        layer: name of the layer it calls; empty for others.
        names: what the source calls the layer's tensors, by attribute.
        template: the source node, where only the tensors of its layer changed.
    """

    node: fx.Node
    module: nn.Module | None
    inputs: Sequence[str]
    kwargs: dict[str, Any]
    base: str
    layer: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    template: NodeProto | None = None


BuildFunction = Callable[["Builder", "OnnxNode"], "Value | tuple[Value, ...]"]
EmitFunction = Callable[[Emission, Call], Any]

BUILDERS: dict[str, BuildFunction] = {}
EMITTERS: dict[Any, EmitFunction] = {}

ELEMENTWISE: set[Callable[..., Any]] = set()
"""Functions of one tensor that keep its shape and treat every element alike."""

BROADCASTING: set[Callable[..., Any]] = set()
"""Functions of several tensors that broadcast against one another and treat every element alike."""

ARITHMETIC: set[Callable[..., Any]] = set()
"""Functions whose constant operand along one axis is a parameter."""

PRODUCTS: set[Callable[..., Any]] = set()
"""Functions whose constant operand along several axes is a parameter: matrices of weights."""

TABLES: set[Callable[..., Any]] = set()
"""Functions whose constant operand is a parameter if the file stores it and it looks trained; see `tables.py`."""


def operator(*names: str) -> Callable[[BuildFunction], BuildFunction]:
    """Register a builder. Names are ONNX operators; those of other domains carry it: `com.microsoft.Gelu`."""

    def register(build: BuildFunction) -> BuildFunction:
        BUILDERS.update(dict.fromkeys(names, build))
        return build

    return register


def emits(*targets: Any) -> Callable[[EmitFunction], EmitFunction]:
    """Register how functions or module types are written."""

    def register(emit: EmitFunction) -> EmitFunction:
        EMITTERS.update(dict.fromkeys(targets, emit))
        return emit

    return register


def find_builder(node: NodeProto) -> BuildFunction | None:
    domain = "" if node.domain in ("", "ai.onnx") else node.domain + "."
    return BUILDERS.get(domain + node.op_type)


def find_emitter(target: Any) -> EmitFunction | None:
    """The emitter of a function, or of a module's type or its nearest base."""
    if isinstance(target, nn.Module):
        return next((EMITTERS[kind] for kind in type(target).__mro__ if kind in EMITTERS), None)
    return EMITTERS.get(target)


def operator_of(call: Call, table: Mapping[Any, str]) -> str:
    """The operator that a table gives for the function that is called."""
    return table[call.node.target]


def is_native(node: NodeProto) -> bool:
    """Whether an operator has a torch builder; a use of it with unknown attributes may still become opaque."""
    return find_builder(node) is not None
