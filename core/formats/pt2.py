"""torch.export archives (`.pt2`), where the operator allows them: set `MODELPRESS_ALLOW_PT2=1`.

torch's loader is not made for files that one does not trust. So it never sees the user's: the archive is read here
by its schema, written anew without what a network does not need, and only that is loaded, in the process that has
closed itself in. What comes of it is ONNX, held to the program's own results, and from then on like any other.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from core.memory import is_out_of_memory
from core.network.checks import check_model
from core.network.read import read_model
from core.sandbox import is_closed_in
from core.wording import message_of
from modelpress.problem import ModelError, ProblemError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ALLOW = "MODELPRESS_ALLOW_PT2"
HINT = "Export the module with torch.onnx.export on your own machine and upload the .onnx file."


def is_archive(head: bytes) -> bool:
    """Whether it may be a .pt2 file and those are allowed. Where not, it is refused as no ONNX."""
    return os.environ.get(ALLOW) == "1" and head.startswith(b"PK\x03\x04")


def read_pt2(path: Path) -> tuple[ModelProto, list[str]]:
    """The network in an archive, and how it was come by.

    Raises:
        ModelError: it holds what a network does not need, or torch can't make ONNX of it, or not the same network.
    """
    from core.formats.pt2_archive import Archive, holds_program, open_archive  # seconds, for these files alone

    with open_archive(path) as file, TemporaryDirectory() as folder:
        if not holds_program(file):
            return read_model(path), []  # says what kind of archive it is
        if not is_closed_in():
            raise ModelError(
                "a .pt2 file is opened only where a process can close itself in: seccomp and Landlock, on Linux",
                hint=HINT,
            )
        safe = Path(folder, "program.pt2")
        Archive(file, path.stat().st_size).write(safe)
        return _convert(safe)


def _convert(path: Path) -> tuple[ModelProto, list[str]]:
    from core.formats.pt2_compare import compare

    program = _load(path)
    model = check_model(_export(program))
    with _told("run the program"):
        compared = compare(program, model)
    return model, [f"the torch.export program became ONNX, which gave the same results on {' and '.join(compared)}"]


def _load(path: Path) -> "ExportedProgram":
    from torch.export import load

    with _told("load the program"):
        return load(str(path))


def _export(program: "ExportedProgram") -> ModelProto:
    if find_spec("onnxscript") is None:
        raise ModelError(
            "this service can't make ONNX of a .pt2 file: onnxscript is not installed",
            hint="Ask the operator to install it. " + HINT,
        )
    from torch import onnx

    with _told("make ONNX of the program"):
        exported: Any = onnx.export(program, dynamo=True, verbose=False)
        return exported.model_proto


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """torch raises anything; here it is a problem with the model."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ProblemError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        what = f"{type(error).__name__}: {message_of(error)[:300]}"
        raise ModelError(f"torch could not {doing} in the .pt2 file: {what}", hint=HINT) from error
