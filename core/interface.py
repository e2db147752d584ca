"""What a model takes and gives: names, element types, shapes. The side of a network that users build on."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from modelpress.problem import ModelError

Size = int | str | None


@dataclass(frozen=True)
class Port:
    """One input or output. A free size is a name, or None where it has none."""

    name: str
    dtype: np.dtype
    shape: tuple[Size, ...]

    @property
    def batch(self) -> int | None:
        """The number of samples that the leading axis is fixed to; None where it is free."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    @property
    def sample_shape(self) -> tuple[Size, ...]:
        return self.shape[1:]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.name} [{', '.join('?' if s is None else str(s) for s in self.shape)}]"


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs in order. The leading axis of every input counts samples."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def batch(self) -> int | None:
        """The only batch size that the model takes, or None where it takes any."""
        return next((port.batch for port in self.inputs if port.batch is not None), None)

    def input(self, name: str) -> Port:
        return next(port for port in self.inputs if port.name == name)

    def output(self, name: str | None) -> Port:
        """The output called `name`, or the first.

        Raises:
            ModelError: there is no output of that name.
        """
        found = next((port for port in self.outputs if name in (None, port.name)), None)
        if found is None:
            names = ", ".join(port.name for port in self.outputs)
            raise ModelError(f"the model has no output {name!r}", hint=f"Set the task's `output` to one of: {names}.")
        return found


def interface_of(proto: ModelProto) -> Interface:
    """The interface of a model; old files list initialisers among the inputs, which are left out.

    Raises:
        ModelError: an input or output that is not a plain tensor, or a model without inputs or outputs.
    """
    held = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_port(value) for value in proto.graph.input if value.name not in held)
    outputs = tuple(_port(value) for value in proto.graph.output)
    if not inputs or not outputs:
        raise ModelError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs; it needs one of each at least"
        )
    return Interface(inputs, outputs)


def _port(value: ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ModelError(
            f"{value.name!r} is not a tensor of numbers",
            hint="Only models whose inputs and outputs are tensors are run.",
        )
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in kind.shape.dim)
    return Port(value.name, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), sizes)
