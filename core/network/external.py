"""External data: the weights that an ONNX model keeps in files beside itself.

The rules follow onnx's own since CVE-2026-34446 and -34447: a location is a plain file inside the model's
folder, reached through no symbolic link, and the range lies within the file.
"""

import os
import stat
from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto

from core.network.limits import MAX_EXTERNAL_BYTES
from core.network.protos import all_tensors
from core.network.sizes import declared_bytes
from modelpress.problem import ModelExternalData, ModelTooLarge

KEYS = {"location", "offset", "length", "checksum"}


def load(model: ModelProto, folder: Path) -> None:
    """Bring external tensors into the model; every one is checked before the first is read.

    Raises:
        ModelExternalData: a location outside `folder`, a file that is missing, a link, or too short.
        ModelTooLarge: more data than a model may have.
    """
    tensors = [tensor for tensor in all_tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    ranges = [_checked_range(tensor, folder) for tensor in tensors]
    if sum(length for _, _, length in ranges) > MAX_EXTERNAL_BYTES:
        raise ModelTooLarge(f"external data of more than {MAX_EXTERNAL_BYTES:,} bytes")
    for tensor, (path, offset, length) in zip(tensors, ranges, strict=True):
        tensor.raw_data = _read(path, offset, length)
        tensor.data_location = TensorProto.DEFAULT
        tensor.ClearField("external_data")


def _checked_range(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if unknown := entries.keys() - KEYS:
        raise ModelExternalData(f"{tensor.name}: unknown external data keys {sorted(unknown)}")
    path = _inside(folder, entries.get("location", ""), tensor.name)
    length = declared_bytes(tensor)
    offset = _whole(entries.get("offset", "0"), tensor.name)
    if "length" in entries and _whole(entries["length"], tensor.name) != length:
        raise ModelExternalData(f"{tensor.name} has {entries['length']} bytes of data but its shape takes {length}")
    if offset + length > path.stat().st_size:
        raise ModelExternalData(f"{tensor.name} reaches beyond the end of {path.name}", hint="Upload it again, whole.")
    return path, offset, length


def _inside(folder: Path, location: str, tensor: str) -> Path:
    pure = PurePosixPath(location)
    if not location or "\\" in location or "\0" in location or ":" in location:
        raise ModelExternalData(f"{tensor}: {location!r} is no file name")
    if pure.is_absolute() or ".." in pure.parts:
        raise ModelExternalData(
            f"{tensor}: external data at {location!r} would be outside the model's folder",
            hint="Save the model again with its data file beside it.",
        )
    path = folder
    for part in pure.parts:
        path = path / part
        if path.is_symlink():
            raise ModelExternalData(f"{tensor}: external data at {location!r} is reached through a symbolic link")
    if not path.is_file():
        raise ModelExternalData(
            f"{tensor}: the external data file {location!r} is missing", hint="Give it along with the model file."
        )
    return path


def _whole(text: str, tensor: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelExternalData(f"{tensor}: {text[:40]!r} is no size")
    return int(text)


def _read(path: Path, offset: int, length: int) -> bytes:
    """The range, from a file that is opened without following links and has no second name."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise ModelExternalData(f"{path.name} is a link or not a plain file")
        file.seek(offset)
        return file.read(length)
