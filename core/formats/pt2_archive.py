"""The zip archive of a torch.export program: read without torch, and written anew from what was understood."""

import json
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export.pt2_archive._package import PT2ArchiveWriter

from core.formats.pt2_schema import read_payloads, read_program
from core.network.limits import MAX_FILE_BYTES, MAX_TENSORS
from modelpress.problem import ModelError, ModelTooLarge, ModelTruncated

MAX_JSON_BYTES = 256 * 2**20
AGAIN = "Copy or upload it again."
MODEL = "model"  # what the program is called in the archive that is written
KNOWN = re.compile(
    r"""models/[\w-]+\.json | data/weights/(weight_\d+|[\w-]+_weights_config\.json)
      | data/constants/(tensor_\d+|[\w-]+_constants_config\.json) | data/sample_inputs/[\w-]+\.pt
      | archive_format | archive_version | byteorder | \.data/(version|serialization_id) | extra/[\w./-]*""",
    re.VERBOSE | re.ASCII,
)
"""All that may lie in an archive: neither compiled code nor pickled weights are among it."""
ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}


@dataclass(frozen=True)
class Payloads:
    """Tensors of one folder of the archive, by what the program calls them, and the records that hold them."""

    folder: str
    file: str
    config: dict[str, Any]


class Archive:
    """An open archive whose members are all known and plainly stored. Raises ModelError."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self._file = file
        self._members = _members(file, size)
        if self._members.get("byteorder") and self._read("byteorder", 16) != b"little":
            raise ModelError("the .pt2 file was written on a big-endian machine")

    def write(self, path: Path) -> None:
        """Write what is understood of it to a new archive: no text, no object and no sample of the old one."""
        program, payloads = self.program(), [*self.payloads()]
        with PT2ArchiveWriter(str(path)) as writer:
            writer.write_string(f"models/{MODEL}.json", json.dumps(program))
            writer.write_bytes(f"data/sample_inputs/{MODEL}.pt", b"")
            for part in payloads:
                writer.write_string(part.file, json.dumps({"config": part.config}))
                for record in dict.fromkeys(meta["path_name"] for meta in part.config.values()):
                    writer.write_bytes(part.folder + record, self._read(part.folder + record, MAX_FILE_BYTES))

    def program(self) -> dict[str, Any]:
        return read_program(self._json(f"models/{self._name}.json"))

    def payloads(self) -> Iterator[Payloads]:
        for kind in ("weights", "constants"):
            folder = f"data/{kind}/"
            config = read_payloads(self._json(f"{folder}{self._name}_{kind}_config.json"))
            self._check(folder, config)
            yield Payloads(folder, f"{folder}{MODEL}_{kind}_config.json", config)

    @property
    def _name(self) -> str:
        names = [name[7:-5] for name in self._members if name.startswith("models/")]
        if len(names) != 1:
            raise ModelError(f"the .pt2 file holds {len(names)} programs; one is taken")
        return names[0]

    def _check(self, folder: str, config: dict[str, Any]) -> None:
        types: dict[str, int] = {}
        for name, payload in config.items():
            record, meta = payload.get("path_name", ""), payload.get("tensor_meta")
            if payload.get("use_pickle") is not False or meta is None:
                raise ModelError(f"{name} is a pickle, which can run code", hint="Save plain tensors alone.")
            if record not in _records(self._members, folder):
                raise ModelError(f"{name} lies in {record!r}, which is not among the archive's tensors")
            if types.setdefault(record, meta["dtype"]) != meta["dtype"]:
                raise ModelError(f"{name} shares {record} with a tensor of another type")
            _check_extent(name, meta, self._members[folder + record].file_size)

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._read(name, MAX_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{name} in the .pt2 file is not JSON: {error}") from None

    def _read(self, name: str, most: int) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise ModelError(f"the .pt2 file has no {name}")
        if member.file_size > most:
            raise ModelTooLarge(f"{name} in the .pt2 file takes {member.file_size:,} bytes; at most {most:,} may it")
        try:
            return self._file.read(member)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise ModelTruncated(f"{name} in the .pt2 file is damaged: {error}", hint=AGAIN) from None


def open_archive(path: Path) -> zipfile.ZipFile:
    """Raises ModelTruncated where it is no zip archive, or ModelTooLarge."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelTooLarge(f"the .pt2 file is larger than {MAX_FILE_BYTES:,} bytes")
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ModelTruncated(f"the archive is damaged: {error}", hint=AGAIN) from None
    if min((member.header_offset for member in file.infolist()), default=0) > 0:  # an archive within the archive
        file.close()
        raise ModelTruncated("the archive is damaged: its own table of contents is missing", hint=AGAIN)
    return file


def holds_program(file: zipfile.ZipFile) -> bool:
    """Whether it is torch.export's, and no other zip archive."""
    return any(name.endswith("/archive_format") for name in file.namelist())


def _members(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """By name below the one folder that all lie in."""
    found = file.infolist()
    if len(found) > MAX_TENSORS:
        raise ModelTooLarge(f"the .pt2 file holds {len(found):,} members; at most {MAX_TENSORS:,} are allowed")
    members = {}
    for member in found:
        name = member.filename.partition("/")[2]
        if not KNOWN.fullmatch(name) or ".." in member.filename or name in members:
            raise ModelError(f"the .pt2 file holds {member.filename[:200]!r}, which is not opened")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ModelError(f"{name} in the .pt2 file is compressed or encrypted, which torch does not do")
        members[name] = member
    if len({member.filename.partition("/")[0] for member in found}) != 1:
        raise ModelError("the .pt2 file's members do not lie in one folder")
    if sum(max(member.file_size, member.compress_size) for member in found) > size:
        raise ModelTooLarge("the .pt2 file's members are larger together than the file")
    return members


def _records(members: dict[str, zipfile.ZipInfo], folder: str) -> set[str]:
    return {name.removeprefix(folder) for name in members if name.startswith(folder) and not name.endswith(".json")}


def _check_extent(name: str, meta: dict[str, Any], held: int) -> None:
    """The tensor lies within its record: torch makes one of zeros where that is empty. Raises ModelError."""
    if not all("as_int" in size for size in (*meta["sizes"], *meta["strides"], meta["storage_offset"])):
        raise ModelError(f"the shape of {name} is not made of numbers")
    sizes = [size["as_int"] for size in meta["sizes"]]
    strides = [stride["as_int"] for stride in meta["strides"]]
    offset, item = meta["storage_offset"]["as_int"], ITEM_BYTES[meta["dtype"]]
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    count = math.prod(sizes)
    if offset < 0 or held % item or count * item > held or (count and (last + 1) * item > held):
        raise ModelError(f"{name} of shape {sizes} needs other memory than the {held:,} bytes that the .pt2 file holds")
