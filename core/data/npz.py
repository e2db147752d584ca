"""`.npz`: arrays in a zip. Headers are read first; pickles never are."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from core.data import limits
from core.data.archives import ZipArchive
from core.data.columns import ArrayColumn
from core.data.raw import RawSet
from modelpress.problem import DataError, DataMismatch, DataUnsafe

HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def read_npz(path: Path, labels: str | None, wanted: list[str]) -> RawSet:
    """The arrays called `wanted`, and the labels; other arrays are left alone.

    Raises:
        DataMismatch: an array is missing. DataUnsafe: an array of objects. DataError: damaged.
    """
    archive = ZipArchive(path)
    numbers = {member.name.removesuffix(".npy"): i for i, member in enumerate(archive.members)}
    for name in [*wanted, *([labels] if labels else [])]:
        if name not in numbers:
            raise DataMismatch(
                f"{path.name} has no array {name!r}; it has {', '.join(sorted(numbers)[:20]) or 'none'}",
                hint="Name the arrays as the model's inputs, and `labels` as the array of labels.",
            )
    arrays = {name: read_member(archive, numbers[name], path) for name in wanted}
    held = read_member(archive, numbers[labels], path) if labels else None
    for name, array in arrays.items():
        if array.ndim < 1:
            raise DataMismatch(f"{path.name}: the array {name!r} is a single number, with no axis of samples")
    return RawSet({name: ArrayColumn(array) for name, array in arrays.items()}, held)


def read_member(archive: ZipArchive, number: int, path: Path) -> np.ndarray:
    """One array: mapped from the file where it is stored uncompressed and large, else in memory."""
    info = archive.infos[number]
    place = f"{path.name}: {info.filename}"
    try:
        with archive.file.open(info) as stream:
            shape, is_fortran, dtype = read_header(stream, place)
            offset = stream.tell()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{place} is damaged: {error}") from error
    declared = math.prod(shape) * dtype.itemsize
    if declared != info.file_size - offset:
        raise DataError(f"{place} declares {declared:,} bytes of values and holds {info.file_size - offset:,}")
    order = "F" if is_fortran else "C"
    if info.compress_type == zipfile.ZIP_STORED and declared >= limits.LARGE_BYTES:
        start = data_start(path, info) + offset
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order=order)
    return np.frombuffer(archive.read(number), dtype, offset=offset).reshape(shape, order=order)


def read_header(stream: IO[bytes], place: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of an array that has not been read yet.

    Raises:
        DataUnsafe: it holds Python objects. DataError: not an array.
    """
    try:
        version = npy.read_magic(stream)
        if version not in HEADERS:
            raise DataError(f"{place} is an array file of the unusual version {version}")
        shape, is_fortran, dtype = HEADERS[version](stream)
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{place} is not a NumPy array: {error}") from error
    if dtype.hasobject:
        raise DataUnsafe(
            f"{place} holds pickled Python objects, which are never opened",
            hint="Save plain arrays of numbers; give all samples the same shape.",
        )
    if len(shape) > limits.MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise DataError(f"{place} has the impossible shape {shape}")
    return shape, is_fortran, dtype


def data_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin; the local header's lengths may differ from the index's."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise DataError(f"{path.name}: {info.filename} has no header where the index says")
    start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if start + info.file_size > path.stat().st_size:
        raise DataError(f"{path.name} is cut off in {info.filename}")
    return start
