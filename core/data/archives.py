"""Zip and tar as lists of members that can be read one by one. Nothing is ever extracted to a path from the archive."""

import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from core.data import limits
from modelpress.problem import DataError, DataTooLarge, DataUnsafe

METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    size: int
    packed: int


class Archive(Protocol):
    members: list[Member]

    def read(self, number: int) -> bytes:
        """The content of a member, at most its declared size."""
        ...


class ZipArchive:
    """A zip whose index has been checked against the limits.

    Raises:
        DataError: not a zip, damaged or encrypted. DataUnsafe: links, paths that leave the archive. DataTooLarge
    """

    def __init__(self, path: Path) -> None:
        try:
            self.file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeError) as error:
            raise DataError(f"{path.name} is not a sound zip archive: {error}") from error
        infos = [info for info in self.file.infolist() if not info.is_dir()]
        check_count(len(infos), path.name)
        for info in infos:
            check_name(info.filename, path.name)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise DataUnsafe(f"{path.name}: {info.filename!r} is a link or device", hint="Put plain files only.")
            if info.flag_bits & 1 or info.compress_type not in METHODS:
                raise DataError(f"{path.name}: {info.filename!r} is encrypted or packed with an unusual method")
        self.infos = infos
        self.members = [Member(info.filename, info.file_size, info.compress_size) for info in infos]
        check_sizes(self.members, path.name)

    def read(self, number: int) -> bytes:
        info = self.infos[number]
        try:
            with self.file.open(info) as stream:
                return stream.read(info.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{info.filename!r} is damaged: {error}") from error


class TarArchive:
    """A plain tar; members are read at their place in the file.

    Raises:
        DataError: not a tar or damaged. DataUnsafe: links, devices, paths that leave the archive. DataTooLarge
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: list[tuple[int, int]] = []
        self.members = []
        try:
            with tarfile.open(path, "r:") as archive:
                for info in archive:
                    self._add(info)
        except (tarfile.TarError, UnicodeError, ValueError, EOFError) as error:
            raise DataError(f"{path.name} is not a sound tar archive: {error}") from error
        check_sizes(self.members, path.name)

    def _add(self, info: tarfile.TarInfo) -> None:
        check_name(info.name, self.path.name)
        if info.isdir():
            return
        if not info.isreg() or info.issparse():
            raise DataUnsafe(f"{self.path.name}: {info.name!r} is a link or device", hint="Put plain files only.")
        check_count(len(self.members) + 1, self.path.name)
        if info.offset_data + info.size > self.path.stat().st_size:
            raise DataError(f"{self.path.name} is cut off in {info.name!r}")
        self.members.append(Member(info.name, info.size, info.size))
        self.places.append((info.offset_data, info.size))

    def read(self, number: int) -> bytes:
        start, size = self.places[number]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)


def check_name(name: str, place: str) -> None:
    """Refuse names that would leave the archive's own folder. Raises DataUnsafe."""
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or drive:
        raise DataUnsafe(
            f"{place}: the name {name[:200]!r} leads out of the archive", hint="Pack the folder with relative names."
        )
    if len(name) > limits.MAX_MEMBER_NAME:
        raise DataUnsafe(f"{place}: a name of {len(name):,} characters; at most {limits.MAX_MEMBER_NAME:,} are read")


def check_count(count: int, place: str) -> None:
    if count > limits.MAX_MEMBERS:
        raise DataTooLarge(
            f"{place} holds more than {limits.MAX_MEMBERS:,} files", hint="Give an .npz of arrays instead."
        )


def check_sizes(members: list[Member], place: str) -> None:
    """Refuse archives that expand beyond all measure, by what they declare. Raises DataTooLarge."""
    for member in members:
        if member.size > limits.RATIO_FLOOR_BYTES and member.size > limits.MAX_RATIO * max(member.packed, 1):
            raise DataTooLarge(f"{place}: {member.name!r} expands from {member.packed:,} to {member.size:,} bytes")
    expanded, packed = sum(member.size for member in members), sum(member.packed for member in members)
    if expanded > limits.RATIO_FLOOR_BYTES and expanded > limits.MAX_RATIO * max(packed, 1):
        raise DataTooLarge(f"{place} expands from {packed:,} to {expanded:,} bytes")
    if expanded > limits.MAX_EXPANDED_BYTES:
        raise DataTooLarge(f"{place} expands to {expanded:,} bytes; at most {limits.MAX_EXPANDED_BYTES:,} are read")
