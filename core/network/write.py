"""Writes a model file piece by piece; weights beyond what a protobuf can hold go beside it.

A model that is serialised as a whole is in memory twice, and slow: protobuf copies every weight several times. Here
each weight goes straight to the file, behind the length of its message, which is known before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from core.network.checks import CHECKABLE_BYTES
from core.network.wire import delimited, unknown_fields

GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
RAW_DATA = TensorProto.RAW_DATA_FIELD_NUMBER
ALIGNMENT = 4096  # of external data, so that they can be mapped
LEAST_EXTERNAL = 1024  # bytes: smaller tensors stay in the model


@dataclass(frozen=True)
class Piece:
    """A run of bytes whose length is known before it is made."""

    length: int
    make: Callable[[], bytes]


WriteTensor = Callable[[TensorProto], list[Piece]]


def write_model(model: ModelProto, path: Path, most_bytes: int = CHECKABLE_BYTES) -> None:
    """Write `path`, and `path` with `.data` behind it where the model is larger than `most_bytes`."""
    pieces = list(_of_model(model, _of_tensor))
    data = path.with_name(path.name + ".data")
    if sum(piece.length for piece in pieces) > most_bytes:
        data.unlink(missing_ok=True)
        with data.open("wb") as file:
            pieces = list(_of_model(model, _Beside(file, data.name).of_tensor))
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece.make())


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


def _of_tensor(tensor: TensorProto) -> list[Piece]:
    if not tensor.HasField("raw_data"):
        return [Piece(len(tensor.SerializeToString()), tensor.SerializeToString)]
    length = len(tensor.raw_data)
    header = _without(tensor, "raw_data").SerializeToString() + unknown_fields(tensor)
    return [_ready(header + delimited(RAW_DATA, length)), Piece(length, lambda: tensor.raw_data)]


class _Beside:
    """Writes large tensors into a data file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def of_tensor(self, tensor: TensorProto) -> list[Piece]:
        if tensor.data_type == TensorProto.STRING:
            return _of_tensor(tensor)
        raw = tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
        if len(raw) < LEAST_EXTERNAL:
            return _of_tensor(tensor)
        self._file.seek(-self._file.tell() % ALIGNMENT, 1)
        light = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        light.doc_string, light.data_location = tensor.doc_string, TensorProto.EXTERNAL
        for key, value in (("location", self._name), ("offset", self._file.tell()), ("length", len(raw))):
            light.external_data.add(key=key, value=str(value))
        self._file.write(raw)
        return [_ready(light.SerializeToString())]


def _ready(data: bytes) -> Piece:
    return Piece(len(data), lambda: data)


def _alone(message: Any, field: str) -> bytes:
    """The message with that field alone."""
    alone = type(message)()
    _copy_field(message, alone, field)
    return alone.SerializeToString()


def _without(tensor: TensorProto, left_out: str) -> TensorProto:
    light = TensorProto()
    for field, _ in tensor.ListFields():
        if field.name != left_out:
            _copy_field(tensor, light, field.name)
    return light


def _copy_field(source: Any, target: Any, name: str) -> None:
    value = getattr(source, name)
    if hasattr(value, "extend"):
        getattr(target, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        getattr(target, name).CopyFrom(value)
    else:
        setattr(target, name, value)
