"""Gzip, read with a bound: what it expands to is known only by expanding it."""

import gzip
import zlib
from pathlib import Path

from core.data import limits
from modelpress.problem import DataError, DataTooLarge

MAGIC = b"\x1f\x8b"
CHUNK = 2**20


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == MAGIC


def gunzip(path: Path, target: Path) -> Path:
    """Expand `path` into the new file `target`, which goes away again if that fails.

    Raises:
        DataError: damaged. DataTooLarge: beyond the limits of an archive.
    """
    packed, expanded = path.stat().st_size, 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(path) as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                expanded += len(chunk)
                check_growth(packed, expanded, path.name)
                sink.write(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        target.unlink(missing_ok=True)
        raise DataError(f"{path.name} is damaged or cut off: {error}") from error
    except DataTooLarge:
        target.unlink(missing_ok=True)
        raise
    return target


def check_growth(packed: int, expanded: int, place: str) -> None:
    over_ratio = expanded > limits.RATIO_FLOOR_BYTES and expanded > limits.MAX_RATIO * packed
    if over_ratio or expanded > limits.MAX_EXPANDED_BYTES:
        raise DataTooLarge(f"{place} expands from {packed:,} to more than {expanded:,} bytes")
