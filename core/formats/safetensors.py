"""Checkpoints of bare weights: safetensors, with the name of a network of the zoo in `architecture.json` beside it.

The format is inert; its reader (the safetensors library) caps the header at 100 MB and checks that offsets cover the
file without overlap and that each shape times its type is as many bytes. The network is exported here, each time
that a job opens it: it takes a second, and the job's folder holds what the user gave and nothing that was made of it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from safetensors import SafetensorError, safe_open

from core.network.limits import MAX_FILE_BYTES, MAX_TENSORS
from core.zoo.build import from_checkpoint
from core.zoo.fit import Fit, by
from core.zoo.fitting import advice, fit_to
from core.zoo.weights import Shape
from modelpress.architecture import ARCHITECTURE_FILE, Architecture
from modelpress.problem import ArchitectureInvalid, CheckpointInvalid, ModelTooLarge, RequestInvalid
from modelpress.validation import parse_request

MAX_ARCHITECTURE_BYTES = 64 * 2**10
REAL = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What torch and its trainers put before every name."""


def is_safetensors(head: bytes) -> bool:
    """Eight bytes of a length that a file can have, then the header's JSON."""
    return head[6:9] == b"\0\0{"


def read_safetensors(path: Path) -> tuple[ModelProto, list[str]]:
    """The network whose weights the file holds, and what was made out about it.

    Raises:
        CheckpointInvalid: the file is damaged, or holds weights of a type that no network of the zoo has.
        ArchitectureInvalid: `architecture.json` is missing or makes no sense.
        CheckpointMismatch: the tensors are not those of the architecture.
        ModelTooLarge: as ONNX it would be larger than a protobuf can be.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = _Tensors(file)
            asked = _asked(path.parent / ARCHITECTURE_FILE, tensors.shapes)
            found = fit_to(tensors.shapes, asked)
            used = list(found.outline())
            tensors.check(used)
            model = from_checkpoint(found.architecture, tensors, found.sample_shape, found.classes, found.scale)
            return model, list(_notes(found, asked, Counter(tensors.types[name] for name in used)))
    except SafetensorError as error:
        raise CheckpointInvalid(
            f"the safetensors file is damaged: {str(error).removeprefix('Error while deserializing header: ')[:300]}",
            hint="Save it again with safetensors' own `save_file`, or upload it again.",
        ) from None


class _Tensors(Mapping[str, np.ndarray]):
    """The tensors of an open file by the names that the network has for them, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        names = file.keys()
        if len(names) > MAX_TENSORS:
            raise ModelTooLarge(f"the file holds {len(names):,} tensors; at most {MAX_TENSORS:,} are allowed")
        self._file, self._stored = file, _unwrapped(names)
        slices = {name: file.get_slice(stored) for name, stored in self._stored.items()}
        self.shapes: dict[str, Shape] = {name: tuple(item.get_shape()) for name, item in slices.items()}
        self.types: dict[str, str] = {name: item.get_dtype() for name, item in slices.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file.get_tensor(self._stored[name]).float().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def check(self, used: list[str]) -> None:
        """Raises where one of the tensors is not of a real type, or where they are too large together."""
        for name in used:
            if self.types[name] not in REAL:
                raise CheckpointInvalid(
                    f"{name} is of type {self.types[name]}; weights are of one of {', '.join(REAL)}",
                    hint="Upload the checkpoint from before it was quantised.",
                )
        if (size := 4 * sum(int(np.prod(self.shapes[name], dtype=object)) for name in used)) > MAX_FILE_BYTES:
            raise ModelTooLarge(f"as float32 the weights take {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed")


def _unwrapped(names: list[str]) -> dict[str, str]:
    """Names without a prefix that all of them have, and what they are called in the file."""
    stored = {name: name for name in names}
    while stored and (found := [prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in stored)]):
        stored = {name.removeprefix(found[0]): original for name, original in stored.items()}
    return stored


def _asked(path: Path, shapes: Mapping[str, Shape]) -> Architecture:
    """What `architecture.json` says. Raises ArchitectureInvalid."""
    if not path.is_file():
        raise ArchitectureInvalid(
            "a safetensors file holds weights alone, and nothing says which network they are of",
            hint=f"Upload it with `architecture`, the name of a network of the zoo. {advice(shapes)}",
        )
    if path.stat().st_size > MAX_ARCHITECTURE_BYTES:
        raise ArchitectureInvalid(f"{path.name} is larger than {MAX_ARCHITECTURE_BYTES:,} bytes")
    try:
        return parse_request(Architecture, json.loads(path.read_text("utf-8")))
    except RequestInvalid as error:
        raise ArchitectureInvalid(f"{path.name}: {error.detail}", errors=error.errors) from None
    except (ValueError, RecursionError) as error:
        raise ArchitectureInvalid(f"{path.name} is not JSON: {error}") from None


def _notes(found: Fit, asked: Architecture, types: Counter[str]) -> Iterator[str]:
    yield f"the checkpoint was read as {found}"
    if asked.input_shape is None and len(found.sample_shape) == 3:
        yield (
            f"a checkpoint does not say how large images are: {by(found.sample_shape)} was taken; "
            "`input_shape` sets another size"
        )
    if others := sorted(REAL[kind] for kind in types if kind != "F32"):
        yield f"weights stored as {' and '.join(others)} are float32 here"
