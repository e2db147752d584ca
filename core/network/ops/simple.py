"""Helpers that register an operator whose ONNX form is its torch form: same inputs, attributes as literals."""

from collections.abc import Callable
from typing import Any

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import BROADCASTING, ELEMENTWISE, Call, emits, operator
from core.network.values import Value


def unary(op: str, function: Callable[..., Any], **defaults: Any) -> None:
    """One tensor in, the same shape out, each element by itself; attributes by name with their defaults."""
    ELEMENTWISE.add(function)
    plain(op, function, **defaults)


def broadcasting(op: str, function: Callable[..., Any], **defaults: Any) -> None:
    """Several tensors that broadcast."""
    BROADCASTING.add(function)
    plain(op, function, **defaults)


def plain(op: str, function: Callable[..., Any], **defaults: Any) -> None:
    """Register a builder that passes attributes on and an emitter that writes those that are not the default."""

    @operator(op)
    def build(builder: Builder, node: OnnxNode) -> Value:
        node.only(*defaults)
        literals = {name: node.attribute(name, default) for name, default in defaults.items()}
        return builder.call(function, *node.inputs(), **literals)

    @emits(function)
    def emit(out: Emission, call: Call) -> str:
        changed = {name: value for name, value in call.kwargs.items() if value != defaults[name] and value is not None}
        return out.node(op.rsplit(".")[-1], call.inputs, name=call.base, **changed)
