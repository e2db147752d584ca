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
    """Write all files below `folder` into the plain tar `target`; False if there are none.

    Raises:
        OSError: it changed each time as we read it.
    """
    for _ in range(TRIES):
        before = listing(folder)
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            complete = all(_add(archive, folder / name, name) for name in before)
        if complete and listing(folder) == before:
            return bool(before)
    raise OSError(f"the checkpoint changed {TRIES} times as it was read")


def listing(folder: Path) -> dict[str, int]:
    """Plain files below `folder`, by relative name, with the inode that tells a new one from an old one.

    What is being written has a name that starts with a dot, and is left out.
    """
    found: dict[str, int] = {}
    for place, folders, names, handle in os.fwalk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            file = open_plain_file(name, handle)
            if file is not None:
                found[str(PurePosixPath(place).relative_to(folder) / name)] = os.fstat(file).st_ino
                os.close(file)
        if len(found) > MOST_FILES:
            raise OSError(f"more than {MOST_FILES} files in the checkpoint")
    return found


def _add(archive: tarfile.TarFile, path: Path, name: str) -> bool:
    """Whether the file was still there, and whole."""
    file = open_plain_file(path)
    if file is None:
        return False
    with os.fdopen(file, "rb") as content:
        member = tarfile.TarInfo(name)
        member.size = os.fstat(content.fileno()).st_size
        try:
            archive.addfile(member, content)
        except OSError:
            return False
    return True


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
