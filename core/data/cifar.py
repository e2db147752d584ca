"""The binary format of CIFAR-10 and CIFAR-100: rows of labels and 3 x 32 x 32 bytes of red, green, blue.

https://www.cs.toronto.edu/~kriz/cifar.html
"""

from pathlib import Path

import numpy as np

from core.data import limits
from core.data.columns import ArrayColumn
from core.data.gunzip import gunzip, is_gzip
from core.data.raw import RawSet, join
from modelpress.problem import DataError

PIXELS = 3 * 32 * 32


def read_cifar(paths: list[Path], scratch: Path) -> RawSet:
    """All files end to end; images are (3, 32, 32), and of CIFAR-100's two labels the fine one counts.

    Raises:
        DataError: a file that is neither.
    """
    return join([read_rows(path, scratch) for path in paths], "the CIFAR files")


def read_rows(path: Path, scratch: Path) -> RawSet:
    plain = gunzip(path, scratch / f"{path.name}.bin") if is_gzip(path) else path
    size = plain.stat().st_size
    for label_bytes, classes in ((1, 10), (2, 100)):
        width = label_bytes + PIXELS
        if size % width:
            continue
        rows = map_rows(plain, size // width, width)
        labels = np.array(rows[:, label_bytes - 1])
        if not len(labels) or labels.max() < classes:
            return RawSet({"": ArrayColumn(rows[:, label_bytes:].reshape(-1, 3, 32, 32))}, labels)
    raise DataError(
        f"{path.name} is not a CIFAR batch: {size:,} bytes are no whole number of rows of {1 + PIXELS:,} (CIFAR-10) "
        f"or {2 + PIXELS:,} (CIFAR-100) bytes with labels in range",
        hint="Give the files of the binary version, such as data_batch_1.bin.",
    )


def map_rows(path: Path, count: int, width: int) -> np.ndarray:
    if not count:
        return np.zeros((0, width), np.uint8)
    rows = np.memmap(path, dtype=np.uint8, mode="r", shape=(count, width))
    return rows if rows.size >= limits.LARGE_BYTES else np.array(rows)
