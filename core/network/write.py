"""Writes a model file piece by piece; weights beyond what a protobuf can hold go beside it.

A model that is serialised as a whole is in memory twice, and slow: protobuf copies every weight several times. Here
each weight goes straight to the file, behind the length of its message, which is known before: from the tensor that a
network holds it in, or else from the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from onnx import GraphProto, ModelProto, TensorProto, numpy_helper
from torch import Tensor

from core.network.checks import CHECKABLE_BYTES
from core.network.sizes import declared_bytes
from core.network.tensors import raw_bytes
from core.network.wire import delimited, unknown_fields

GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
RAW_DATA = TensorProto.RAW_DATA_FIELD_NUMBER
FIELDS = {field.name: hasattr(getattr(TensorProto(), field.name), "extend") for field in TensorProto.DESCRIPTOR.fields}
"""Of a tensor, and which are lists."""
NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
"""Where a tensor of numbers may have them."""

ALIGNMENT = 4096  # of external data, so that they can be mapped
LEAST_EXTERNAL = 1024  # bytes: smaller tensors stay in the model


@dataclass(frozen=True)
class Piece:
    """A run of bytes whose length is known before it is made."""

    length: int
    make: Callable[[], bytes | memoryview]


WriteTensor = Callable[[TensorProto], list[Piece]]


def write_model(
    model: ModelProto, path: Path, held: Mapping[str, Tensor] | None = None, most_bytes: int = CHECKABLE_BYTES
) -> None:
    """Write `path`, and `path` with `.data` behind it where the model is larger than `most_bytes`.

    Args:
        held: numbers of initialisers by name, which may lack them.
    """
    within = _Within(held or {})
    pieces = list(_of_model(model, within.of_tensor))
    data = path.with_name(path.name + ".data")
    if sum(piece.length for piece in pieces) > most_bytes:
        data.unlink(missing_ok=True)
        with data.open("wb") as file:
            pieces = list(_of_model(model, _Beside(within, file, data.name).of_tensor))
    with path.open("wb") as file:
        for piece in pieces:
            if file.write(piece.make()) != piece.length:
                raise ValueError(f"the weights of {path.name} are not of the size that they declare")


def _of_model(model: ModelProto, of_tensor: WriteTensor) -> Iterator[Piece]:
    graph = list(_of_graph(model.graph, of_tensor))
    for field, _ in model.ListFields():
        if field.number != GRAPH:
            yield _ready(_alone(model, field.name))
        else:
            yield _ready(delimited(GRAPH, sum(piece.length for piece in graph)))
            yield from graph
    yield _ready(unknown_fields(model))


def _of_graph(graph: GraphProto, of_tensor: WriteTensor) -> Iterator[Piece]:
    for field, value in graph.ListFields():
        if field.number == INITIALIZER:
            for tensor in value:
                pieces = of_tensor(tensor)
                yield _ready(delimited(INITIALIZER, sum(piece.length for piece in pieces)))
                yield from pieces
        elif field.message_type is not None:
            parts = [message.SerializeToString() for message in value]
            yield _ready(b"".join(delimited(field.number, len(part)) + part for part in parts))
        else:
            yield _ready(_alone(graph, field.name))
    yield _ready(unknown_fields(graph))


class _Within:
    """Writes tensors into the model file."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        self._held = held

    def of_tensor(self, tensor: TensorProto) -> list[Piece]:
        if tensor.name not in self._held and not tensor.HasField("raw_data"):
            return [Piece(len(tensor.SerializeToString()), tensor.SerializeToString)]
        length = declared_bytes(tensor)
        header = without(tensor, "raw_data").SerializeToString() + unknown_fields(tensor)
        return [_ready(header + delimited(RAW_DATA, length)), Piece(length, lambda: self.raw(tensor))]

    def raw(self, tensor: TensorProto) -> bytes | memoryview:
        """The numbers of any tensor but one of strings, as they are stored."""
        if tensor.name in self._held:
            return raw_bytes(self._held[tensor.name], tensor.data_type)
        return tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


class _Beside:
    """Writes large tensors into a data file."""

    def __init__(self, within: _Within, file: IO[bytes], name: str) -> None:
        self._within, self._file, self._name = within, file, name

    def of_tensor(self, tensor: TensorProto) -> list[Piece]:
        if tensor.data_type == TensorProto.STRING or declared_bytes(tensor) < LEAST_EXTERNAL:
            return self._within.of_tensor(tensor)
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        light = without(tensor, *NUMBERS)
        light.data_location = TensorProto.EXTERNAL
        raw = self._within.raw(tensor)
        for key, value in (("location", self._name), ("offset", self._file.tell()), ("length", len(raw))):
            light.external_data.add(key=key, value=str(value))
        self._file.write(raw)
        return [_ready(light.SerializeToString() + unknown_fields(tensor))]


def _ready(data: bytes) -> Piece:
    return Piece(len(data), lambda: data)


def _alone(message: Any, field: str) -> bytes:
    """The message with that field alone."""
    alone = type(message)()
    _copy_field(message, alone, field)
    return alone.SerializeToString()


def without(tensor: TensorProto, *left_out: str) -> TensorProto:
    """A copy without some fields, which are not looked at: protobuf copies what it shows."""
    light = TensorProto()
    for name, is_list in FIELDS.items():
        if name not in left_out and (len(getattr(tensor, name)) if is_list else tensor.HasField(name)):
            _copy_field(tensor, light, name)
    return light


def _copy_field(source: Any, target: Any, name: str) -> None:
    value = getattr(source, name)
    if hasattr(value, "extend"):
        getattr(target, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        getattr(target, name).CopyFrom(value)
    else:
        setattr(target, name, value)
