"""What can be said of a data set by its files' names and headers, without numpy."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from modelpress.problem import DataError

Format = Literal["npz", "images", "idx", "cifar"]

_BY_NAME: tuple[tuple[str, Format], ...] = (
    (r"\.npz$", "npz"),
    (r"(-ubyte|\.idx\d?|-idx\d?)(\.gz)?$", "idx"),
    (r"\.(zip|tar|tgz|tar\.gz|tar\.xz|tar\.bz2)$", "images"),
    (r"\.bin$", "cifar"),
)
HEADER = 256
"""Bytes that hold the type of a .npy file."""


def guess_format(path: Path) -> Format:
    """By the name; raises DataError where it says nothing."""
    for pattern, name in _BY_NAME:
        if re.search(pattern, path.name.lower()):
            return name
    raise DataError(
        f"can't tell from the name {path.name!r} how to read it", hint="Say so: format npz, images, idx or cifar."
    )


def labels_are_classes(path: Path, labels: str) -> bool:
    """Whether the labels in an .npz file are integers, by that array's header alone.

    Raises:
        DataError: the file is no .npz file or has no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if labels not in names:
                raise DataError(f"{path.name} has no array {labels!r}, only {', '.join(names[:10])}")
            with archive.open(f"{labels}.npy") as file:
                descr = re.search(rb"'descr':\s*'[<>|=]?(\w)", file.read(HEADER))
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path.name} is not an .npz file: {error}") from None
    return descr is not None and descr.group(1) in {b"i", b"u", b"b"}
