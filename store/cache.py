"""A worker's own copy of blobs it needs often: least recently used goes first, projects never share."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress.problem import Unavailable
from store.blobs.base import Blobs
from store.claims import Input
from store.ids import new_id


class BlobCache:
    """Files by (project, sha256) in `folder`, at most `most_bytes` of them. Safe between processes."""

    def __init__(self, folder: Path, blobs: Blobs, most_bytes: int) -> None:
        self._folder, self._blobs, self._most_bytes = folder, blobs, most_bytes
        if not blobs.is_local:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def fetch(self, project_id: str, wanted: Input, target: Path) -> None:
        """Put the file at `target`: a copy that its reader may change, its hash verified.

        Raises Unavailable where the bytes are not there or not what they were.
        """
        if self._blobs.is_local or wanted.size_bytes > self._most_bytes:
            self._download(wanted, target)
            return
        with self._locked():
            kept = self._folder / project_id / wanted.sha256
            if kept.exists():
                os.utime(kept)
                shutil.copyfile(kept, target)
                return
        self._download(wanted, target)
        self._keep(target, kept)

    def _download(self, wanted: Input, target: Path) -> None:
        digest = hashlib.sha256()
        try:
            with target.open("xb") as file:
                for piece in self._blobs.read(wanted.key):
                    digest.update(piece)
                    file.write(piece)
        except FileNotFoundError:
            raise Unavailable(f"{wanted.name or 'a checkpoint'} is no longer stored") from None
        if digest.hexdigest() != wanted.sha256:
            target.unlink()
            raise Unavailable(f"{wanted.name or 'a checkpoint'} was damaged in the store or on the way")

    def _keep(self, source: Path, kept: Path) -> None:
        draft = self._folder / new_id("tmp")
        try:
            shutil.copyfile(source, draft)
            kept.parent.mkdir(exist_ok=True)
            with self._locked():
                self._make_room(draft.stat().st_size)
                draft.replace(kept)
        finally:
            draft.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("prj_*/*"))
        used = sum(each for _, each, _ in files)
        for _, each, path in files:
            if used + size <= self._most_bytes:
                return
            path.unlink()
            used -= each

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
