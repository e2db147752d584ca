"""Inputs and outputs of a node that may be left out."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call
from core.network.values import Value


def optional_inputs(node: OnnxNode, most: int) -> list[Value | None]:
    """All inputs, None for those left out."""
    return [node.input(position) if node.given(position) else None for position in range(min(node.count(), most))]


def stripped(inputs: Sequence[str]) -> list[str]:
    """Without the empty names at the end."""
    names = list(inputs)
    while names and not names[-1]:
        names.pop()
    return names


def spread(builder: Builder, results: Any, count: int) -> tuple[Value, ...]:
    """The members of a tuple that was called for, or computed at once."""
    return builder.unpack(results, count) if isinstance(results, fx.Node) else results


def read_outputs(
    out: Emission,
    call: Call,
    op: str,
    count: int,
    inputs: Sequence[str] | None = None,
    domain: str = "",
    **attributes: Any,
) -> Any:
    """A node of several outputs, of which those that nobody reads are left out."""
    names = stripped(call.inputs if inputs is None else inputs)
    made = out.node(op, names, outputs=count, domain=domain, name=call.base, **attributes)
    read = [0, *(user.args[1] for user in call.node.users)]
    node = out.nodes[-1]
    node.output[:] = [name if place in read else "" for place, name in enumerate(made)]
    while not node.output[-1]:
        node.output.pop()
    return made
