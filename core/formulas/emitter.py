"""Collects the nodes and initialisers that one part of a network is written as."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

IR_OF_OPSET = {19: 9, 21: 10, 23: 11}
"""The least IR version that goes with an opset, for those that brought new types."""


class Emitter:
    """Nodes and initialisers under fresh names, with the least opset they need.

    Attributes:
        nodes: in an order in which they can run.
        initializers: the constants they read.
        min_opset, min_ir: least version of the standard operators and of the file format.
        notes: what a user should know about what was written, one sentence each.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.min_opset = 1
        self.min_ir = 3
        self.notes: list[str] = []
        self._taken = set(taken)

    def fresh(self, name: str) -> str:
        """`name` itself, or with the first free number behind it; taken from now on."""
        candidate, number = name, 1
        while candidate in self._taken:
            candidate, number = f"{name}_{number}", number + 1
        self._taken.add(candidate)
        return candidate

    def initializer(self, name: str, array: np.ndarray) -> str:
        """Store an array of any type that numpy knows; returns the value's name."""
        name = self.fresh(name)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def packed_uint4(self, name: str, array: np.ndarray) -> str:
        """Store integers 0 to 15 two a byte, the first in the low half; returns the value's name."""
        self.require_opset(21)
        flat = array.astype(np.uint8).ravel()
        flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
        name = self.fresh(name)
        packed = (flat[0::2] | (flat[1::2] << 4)).tobytes()
        self.initializers.append(helper.make_tensor(name, TensorProto.UINT4, array.shape, packed, raw=True))
        return name

    def node(
        self, op_type: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", name: str = "", **attributes: Any
    ) -> Any:
        """Add a node; returns its output's name, or a tuple of names where there are several.

        Args:
            name: what the outputs are called; with several, numbered from 0.
        """
        base = name or f"{inputs[0] if inputs else op_type}/{op_type}"
        wanted = [base] if outputs == 1 else [f"{base}_{i}" for i in range(outputs)]
        names = [self.fresh(w) for w in wanted]
        self.nodes.append(
            helper.make_node(op_type, list(inputs), names, domain=domain or None, name=names[0], **attributes)
        )
        return names[0] if outputs == 1 else tuple(names)

    def require_opset(self, opset: int) -> None:
        """Note that what is written needs at least this opset."""
        self.min_opset = max(self.min_opset, opset)
        self.min_ir = max([self.min_ir] + [ir for since, ir in IR_OF_OPSET.items() if since <= opset])

    def note(self, text: str) -> None:
        self.notes.append(text)
