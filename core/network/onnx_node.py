"""A source node as its builder sees it: resolved inputs, attributes with defaults, literals out of constants."""

from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, helper
from torch import Tensor

from core.network.limits import MAX_OPERANDS
from core.network.source import Shape, Source
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value


class OnnxNode:
    """View of one node while it is built."""

    def __init__(self, source: Source, index: int, values: dict[str, Value], layer: str = "") -> None:
        self.source = source
        self.index = index
        self.layer = layer
        self.proto: NodeProto = source.nodes[index]
        self._values = values
        self._attributes = {attribute.name: attribute for attribute in self.proto.attribute}

    @property
    def opset(self) -> int:
        return self.source.opset

    @property
    def op(self) -> str:
        return self.proto.op_type

    def only(self, *names: str) -> None:
        """Raise Unsupported if the node has an attribute that its builder does not know."""
        if unknown := self._attributes.keys() - set(names):
            raise Unsupported(f"{self.op} with {', '.join(sorted(unknown))}")

    def has(self, name: str) -> bool:
        return name in self._attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute: int, float, str, list or TensorProto."""
        if name not in self._attributes:
            return default
        attribute = self._attributes[name]
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.STRING:
            return value.decode("utf-8", "replace")
        if attribute.type == AttributeProto.FLOAT:
            return short_float(value)
        if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            return list(value)
        return value

    # inputs

    def count(self) -> int:
        """How many inputs are given, trailing empty ones not counted."""
        names = list(self.proto.input)
        while names and not names[-1]:
            names.pop()
        return len(names)

    def given(self, position: int) -> bool:
        return position < len(self.proto.input) and self.proto.input[position] != ""

    def name(self, position: int) -> str:
        return self.proto.input[position]

    def input(self, position: int) -> Value:
        """The value at an input that must be there."""
        if not self.given(position):
            raise Unsupported(f"{self.op} without input {position}")
        return self._values[self.proto.input[position]]

    def inputs(self) -> list[Value]:
        return [self.input(position) for position in range(self.count())]

    def extra_outputs(self) -> list[str]:
        """Outputs beyond the first that something reads."""
        return [name for name in self.proto.output[1:] if name in self.source.read]

    def shape(self, position: int) -> Shape | None:
        """Sizes of an input as far as they are known without running; None for an unknown rank."""
        value = self._values.get(self.name(position))
        if isinstance(value, Constant):
            return list(value.tensor.shape)
        return self.source.shape(self.name(position))

    def rank(self, position: int) -> int | None:
        shape = self.shape(position)
        return None if shape is None else len(shape)

    def output_shape(self, position: int = 0) -> Shape | None:
        return self.source.shape(self.proto.output[position])

    # constants as literals

    def find_tensor(self, position: int) -> Tensor | None:
        """The constant at an input; None if it is left out.

        Raises:
            Unsupported: it is computed from the model's inputs.
        """
        if not self.given(position):
            return None
        value = self.input(position)
        if not isinstance(value, Constant):
            raise Unsupported(f"{self.op} whose input {position} is not constant")
        return value.tensor

    def is_constant(self, position: int) -> bool:
        return self.given(position) and isinstance(self.input(position), Constant)

    def tensor(self, position: int) -> Tensor:
        found = self.find_tensor(position)
        if found is None:
            raise Unsupported(f"{self.op} without input {position}")
        return found

    def ints(self, position: int) -> list[int] | None:
        """A constant integer list, such as axes; None if left out."""
        tensor = self.find_tensor(position)
        if tensor is not None and tensor.numel() > MAX_OPERANDS:
            raise Unsupported(f"{self.op} with a list of {tensor.numel():,} integers")
        return None if tensor is None else [int(value) for value in tensor.reshape(-1).tolist()]

    def number(self, position: int, default: float | None = None) -> float | None:
        """A constant scalar; `default` if left out."""
        tensor = self.find_tensor(position)
        if tensor is None:
            return default
        if tensor.numel() != 1:
            raise Unsupported(f"{self.op} whose input {position} has {tensor.numel()} elements where one is expected")
        return tensor.item()

    def ints_either(self, attribute: str, position: int) -> list[int] | None:
        """Integers that older opsets keep in an attribute and newer ones in an input."""
        return self.attribute(attribute) if self.has(attribute) else self.ints(position)


def short_float(value: float) -> float:
    """A stored fp32 as the shortest decimal that rounds to it: 0.1, not 0.10000000149."""
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if np.float32(short) == np.float32(value):
            return short
    return value
