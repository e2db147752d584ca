"""A job's checkpoints as one file, so that another worker can go on from them.

The child writes them while we read, and we don't trust it: only plain files are taken, by handles that no link can
lead astray, and reading them back is the computation's own affair, which validates what it loads.
"""

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from worker.events import open_plain_file

TRIES = 3
MOST_FILES = 100_000


def pack(folder: Path, target: Path) -> bool:
    """Write all files below `folder` into the plain tar `target`; False if there are none."""
    for _ in range(TRIES - 1):
        try:
            return _pack(folder, target)
        except OSError:  # a checkpoint was replaced by the next one as we read
            continue
    return _pack(folder, target)


def _pack(folder: Path, target: Path) -> bool:
    count = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for place, folders, names, handle in os.fwalk(folder):
            folders.sort()
            for name in sorted(names):
                file = open_plain_file(name, handle)
                if file is None:
                    continue
                count += 1
                if count > MOST_FILES:
                    raise OSError(f"more than {MOST_FILES} files in the checkpoint")
                with os.fdopen(file, "rb") as content:
                    member = tarfile.TarInfo(str(PurePosixPath(place).relative_to(folder) / name))
                    member.size = os.fstat(content.fileno()).st_size
                    archive.addfile(member, content)
    return count > 0


def unpack(packed: Path, folder: Path) -> None:
    """Write the files of a tar made by `pack` below `folder`."""
    with tarfile.open(packed, "r:") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"not a file of a checkpoint: {member.name!r}")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
