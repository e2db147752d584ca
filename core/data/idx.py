"""IDX, the format of MNIST: images in one file, labels in another, gzipped or not.

http://yann.lecun.com/exdb/mnist: two zero bytes, the type, the number of axes, their sizes (big-endian), the values.
"""

import math
from pathlib import Path

import numpy as np

from core.data import limits
from core.data.columns import ArrayColumn
from core.data.gunzip import gunzip, is_gzip
from core.data.raw import RawSet
from modelpress.problem import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(paths: list[Path], scratch: Path) -> RawSet:
    """Images, then labels if there is a second file.

    Raises:
        DataError: more than two files, or one that is not IDX.
    """
    if len(paths) > 2:
        raise DataError(f"idx takes the file of images and the file of labels, not {len(paths)} files")
    arrays = [read_array(path, scratch) for path in paths]
    if len(arrays) == 2 and arrays[1].ndim != 1:
        raise DataError(f"{paths[1].name} has shape {arrays[1].shape}; the second file is the labels, with one axis")
    return RawSet({"": ArrayColumn(arrays[0])}, arrays[1] if len(arrays) == 2 else None)


def read_array(path: Path, scratch: Path) -> np.ndarray:
    """The array of one file, mapped from disk where it is large.

    Raises:
        DataError: not IDX, or it declares more or less than it holds.
    """
    plain = gunzip(path, scratch / f"{path.name}.idx") if is_gzip(path) else path
    with plain.open("rb") as file:
        start = file.read(4)
        count = start[3] if len(start) == 4 else 0
        sizes = file.read(4 * count)
    is_known = start[:2] == b"\0\0" and 1 <= count <= limits.MAX_DIMENSIONS and start[2] in TYPES
    if not is_known or len(sizes) < 4 * count:
        raise DataError(
            f"{path.name} is not an IDX file", hint="IDX starts with two zero bytes, the type and the axes."
        )
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    dtype, offset = np.dtype(TYPES[start[2]]), 4 + 4 * count
    declared, held = math.prod(shape) * dtype.itemsize, plain.stat().st_size - offset
    if declared != held:
        raise DataError(f"{path.name} declares {declared:,} bytes of values and holds {max(held, 0):,}")
    if not declared:
        return np.zeros(shape, dtype)
    array = np.memmap(plain, dtype=dtype, mode="r", offset=offset, shape=shape)
    return array if declared >= limits.LARGE_BYTES else np.array(array).astype(dtype.newbyteorder("="))
