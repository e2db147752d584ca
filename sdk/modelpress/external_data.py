"""Which files belong to an ONNX file, found without the onnx package.

A model's weights may lie in files beside it. The few fields that name them are read here straight from the
protobuf encoding; everything else is skipped over, so that it takes no time or memory to speak of.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

GRAPH, INITIALIZER, EXTERNAL_DATA = 7, 5, 13
"""Field numbers in ModelProto, GraphProto and TensorProto."""
KEY, VALUE = 1, 2
LONGEST_NAME = 255


def external_files(model: Path) -> list[Path]:
    """The files beside `model` that its initialisers refer to, by name, in order.

    Only plain names of files that lie in the model's own folder: what else a model refers to, and what is no ONNX at
    all, is for the service to judge.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names = dict.fromkeys(_locations(data))
    except (OSError, ValueError):
        return []
    plain = [name for name in names if len(name) <= LONGEST_NAME and Path(name).name == name and "\0" not in name]
    return [model.parent / name for name in plain if (model.parent / name).is_file()]


def _locations(data: mmap.mmap) -> Iterator[str]:
    for graph in _fields(data, 0, len(data), GRAPH):
        for tensor in _fields(data, *graph, INITIALIZER):
            for entry in _fields(data, *tensor, EXTERNAL_DATA):
                key, value = (next((data[a:b] for a, b in _fields(data, *entry, n)), b"") for n in (KEY, VALUE))
                if key == b"location":
                    yield value.decode("utf-8", "replace")


def _fields(data: mmap.mmap, start: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Start and stop of each length-delimited field `wanted` of the message at [start, stop).

    Raises:
        ValueError: these bytes are no message.
    """
    while start < stop:
        tag, start = _varint(data, start, stop)
        kind, size = tag & 7, 0
        if kind == 0:
            _, start = _varint(data, start, stop)
        elif kind == 2:
            size, start = _varint(data, start, stop)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if start + size > stop:
            raise ValueError("a field reaches beyond its message")
        if kind == 2 and tag >> 3 == wanted:
            yield start, start + size
        start += size


def _varint(data: mmap.mmap, start: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while start < stop and shift < 70:
        byte = data[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
    raise ValueError("a number does not end")
