"""The texts of a model: ONNX asks for UTF-8, which protobuf does not enforce, and gives out as bytes what is none."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from onnx import ModelProto, TensorProto

from modelpress.problem import ModelError

WITHOUT_NUMBERS = [
    field.name
    for field in TensorProto.DESCRIPTOR.fields
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
]
"""Of a tensor: the fields that are looked at. protobuf copies what it shows, and the others hold the weights."""


def check_texts(model: ModelProto) -> None:
    """Raises ModelError where a name or another text is not UTF-8; says which."""
    if found := _find(model):
        place, text = found
        raise ModelError(
            f"{'.'.join(place)} is {text[:40]!r}, which is not UTF-8",
            hint="The file is damaged, or written by something that does not keep to ONNX; export it again.",
        )


def _find(message: Any) -> tuple[list[str], bytes] | None:
    """The first text that is none, and the way to it."""
    for field, value in _set_fields(message):
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        is_list = hasattr(value, "extend")
        for number, one in enumerate(value if is_list else (value,)):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                found = _find(one)
            else:
                found = ([], one) if isinstance(one, bytes) else None
            if found:
                return [f"{field.name}[{number}]" if is_list else field.name, *found[0]], found[1]
    return None


def _set_fields(message: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(message, TensorProto):
        yield from message.ListFields()
        return
    fields = TensorProto.DESCRIPTOR.fields_by_name
    for name in WITHOUT_NUMBERS:
        value = getattr(message, name)
        if len(value) if hasattr(value, "extend") else message.HasField(name):
            yield fields[name], value
