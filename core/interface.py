"""What a model takes and gives: names, element types, shapes. The side of a network that users build on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from core.network.axes import NEW, Axes, output_axes
from core.network.source import size_of
from modelpress.problem import ModelError

Size = int | str | None
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """One input or output. A free size is a name, or None where it has none.

    Attributes:
        axis: where its samples are, NEW where the file holds one without an axis, None where all samples share it.
    """

    name: str
    dtype: np.dtype
    shape: tuple[Size, ...]
    axis: int | None = 0

    @property
    def batch(self) -> int | None:
        """The number of samples that it is fixed to; None where that is free, or it has none."""
        if self.axis == NEW:
            return 1
        size = None if self.axis is None else self.shape[self.axis]
        return size if isinstance(size, int) else None

    @property
    def sample_shape(self) -> tuple[Size, ...]:
        """What is shared has this shape in every sample."""
        if self.axis is None or self.axis == NEW:
            return self.shape
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    def to_file(self, rows: np.ndarray) -> np.ndarray:
        """(samples, *sample_shape) as the file takes it; of what is shared, that of the first sample."""
        return rows[0] if self.axis is None or self.axis == NEW else np.moveaxis(rows, 0, self.axis)

    def to_samples(self, value: np.ndarray, count: int) -> np.ndarray:
        """What the file gives for `count` samples as (count, *sample_shape)."""
        if self.axis is None:
            return np.broadcast_to(value, (count, *value.shape))
        return value[None] if self.axis == NEW else np.moveaxis(value, self.axis, 0)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.name} [{', '.join('?' if s is None else str(s) for s in self.shape)}]"


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs in order. Everywhere but in the file the leading axis of every value counts samples."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def batch(self) -> int | None:
        """The only batch size that the model takes, or None where it takes any."""
        return next((port.batch for port in self.inputs if port.batch is not None), None)

    def takes_alone(self, rows: Mapping[str, np.ndarray]) -> bool:
        """Whether samples can't go together, since they differ in an input of which the file takes one for all."""
        given = (rows[port.name] for port in self.inputs if port.axis is None)
        return any(not np.array_equal(value, np.broadcast_to(value[:1], value.shape)) for value in given)

    def to_file(self, rows: Mapping[str, np.ndarray]) -> Arrays:
        """Inputs by name, (samples, ...), as the file takes them."""
        return {port.name: np.ascontiguousarray(port.to_file(rows[port.name])) for port in self.inputs}

    def to_samples(self, values: Mapping[str, np.ndarray], count: int) -> Arrays:
        """Outputs by name for `count` samples, (count, ...)."""
        return {port.name: port.to_samples(values[port.name], count) for port in self.outputs}

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


def interface_of(proto: ModelProto, axes: Axes | None = None) -> Interface:
    """The interface of a model; old files list initialisers among the inputs, which are left out.

    Args:
        axes: where the inputs have their samples; on the first axis if left out.

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
    if axes is None:
        axes = tuple(0 if port.shape else None for port in inputs)
    places = output_axes([port.shape for port in inputs], axes, [port.shape for port in outputs])
    return Interface(
        tuple(replace(port, axis=axis) for port, axis in zip(inputs, axes, strict=True)),
        tuple(replace(port, axis=axis) for port, axis in zip(outputs, places, strict=True)),
    )


def _port(value: ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ModelError(
            f"{value.name!r} is not a tensor of numbers",
            hint="Only models whose inputs and outputs are tensors are run.",
        )
    sizes = tuple(size_of(dimension) for dimension in kind.shape.dim)
    return Port(value.name, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), sizes)
