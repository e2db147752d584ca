"""The job folder: built before the child starts, gone after its end, whoever ends first."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from modelpress.problem import ProblemError
from store.cache import BlobCache
from store.claims import Claimed
from worker import checkpoints


@contextmanager
def job_folder(root: Path, claimed: Claimed, cache: BlobCache) -> Iterator[Path]:
    """The folder of one attempt, with its inputs and the last checkpoint in it.

    A lock beside it says that its supervisor lives; `sweep` removes those that nobody holds.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = root / f"{claimed.token}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        job_dir = root / claimed.token
        try:
            _build(job_dir, claimed, cache)
            yield job_dir
        finally:
            shutil.rmtree(job_dir, ignore_errors=True)
            lock.unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove the folders of supervisors that were killed."""
    for lock in root.glob("*.lock"):
        with contextlib.suppress(OSError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def size_of(folder: Path) -> int:
    """Bytes on disk of all files in it."""
    total = 0
    for _, _, names, handle in os.fwalk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(name, dir_fd=handle, follow_symlinks=False).st_blocks * 512
    return total


def _build(job_dir: Path, claimed: Claimed, cache: BlobCache) -> None:
    job_dir.mkdir(mode=0o700)
    for name in ("inputs", "cache", "checkpoints", "outputs", "tmp"):
        (job_dir / name).mkdir(mode=0o700)
    for item in claimed.inputs:
        target = job_dir / "inputs" / _plain_path(item.name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache.fetch(claimed.project_id, item, target)
    if claimed.checkpoint is not None:
        packed = job_dir / "tmp" / "checkpoint"
        cache.fetch(claimed.project_id, claimed.checkpoint, packed)
        checkpoints.unpack(packed, job_dir / "checkpoints")
        packed.unlink()
    budget = {**claimed.spec.get("budget", {}), "run_seconds": max(claimed.seconds_left, 0.001)}
    (job_dir / "job.json").write_text(json.dumps({**claimed.spec, "budget": budget}))


def _plain_path(name: str) -> PurePosixPath:
    """A name of `inputs/`: checked when it was submitted, and once more where it becomes a path."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or any(part in ("..", ".") for part in path.parts) or "\0" in name:
        raise ProblemError(f"the input {name!r} is no relative path")
    return path
