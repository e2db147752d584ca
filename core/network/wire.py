"""The outermost fields of a protobuf file, written, and read without trusting them: a cut file is not a foreign one."""

from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}  # number: wire type


def looks_like_a_model(data: bytes) -> bool:
    """Whether `data` starts as an onnx.ModelProto does."""
    tag, position = _varint(data, 0)
    return position is not None and _is_model_tag(tag)


def is_cut(data: bytes) -> bool:
    """Whether a file that starts as an onnx.ModelProto ends in the middle of one of its outermost fields."""
    position: int | None = 0
    while position is not None and position < len(data):
        tag, after = _varint(data, position)
        if after is None:
            return True
        if not _is_model_tag(tag):
            return False
        value, after = _varint(data, after)
        if after is None:
            return True
        position = after + value if tag & 7 == 2 else after
        if position > len(data):
            return True
    return False


def delimited(field: int, length: int) -> bytes:
    """What stands before the `length` bytes of a message, string or bytes field."""
    return _encode(field << 3 | 2) + _encode(length)


def unknown_fields(message: Message) -> bytes:
    """The fields of a newer format that `message` itself carries, as they came."""
    return b"".join(_unknown(entry.field_number, entry.wire_type, entry.data) for entry in UnknownFieldSet(message))


def _unknown(number: int, kind: int, data: Any) -> bytes:
    tag = _encode(number << 3 | kind)
    match kind:
        case 0:
            return tag + _encode(data)
        case 2:
            return tag + _encode(len(data)) + data
        case 3:  # a group, which ends with a tag of its own
            inner = (_unknown(entry.field_number, entry.wire_type, entry.data) for entry in data)
            return tag + b"".join(inner) + _encode(number << 3 | 4)
        case _:
            return tag + data.to_bytes(8 if kind == 1 else 4, "little")


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _is_model_tag(tag: int) -> bool:
    return MODEL_FIELDS.get(tag >> 3) == tag & 7


def _varint(data: bytes, position: int) -> tuple[int, int | None]:
    """The number at `position` and the position after it, which is None where the data end inside the number."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return 0, None
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return 0, position
