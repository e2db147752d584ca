"""Jobs on this machine: a folder, the computation as a child process, no server anywhere.

Only the child opens the model and the data; it closes itself in before it does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from modelpress.architecture import Architecture
from modelpress.base import Answer
from modelpress.data import DatasetFormat
from modelpress.events import parse_event
from modelpress.external_data import external_files
from modelpress.inspection import Inspection
from modelpress.job import DatasetFiles, Job, JobData
from modelpress.problem import FileUnreadable, Problem, ProblemError, error_of
from modelpress.result import Result

ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "VIRTUAL_ENV",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "MODELPRESS_ALLOW_PT2",
)
"""What the child sees of this process's environment: a model file is not to be trusted with the rest."""
GRACE = 0.5
"""Seconds between asking the child to stop and killing it."""
LOOK = 0.05
"""Seconds between two looks at the events."""


class ServerMissing(ProblemError):
    code, title, status, category = "server_missing", "The computation is not installed here", 501, "unsupported"


class CoreCrashed(ProblemError):
    """The child ended without a word."""

    code, title, status, category = "core_crashed", "The computation ended unexpectedly", 500, "infra"


@dataclass(frozen=True)
class LocalData:
    """A data set on this machine: its files in order, and how they are read."""

    files: Sequence[Path]
    format: DatasetFormat


def require_core() -> None:
    """Raise ServerMissing where `modelpress-server` is not installed beside this interpreter."""
    try:
        metadata.version("modelpress-server")
    except metadata.PackageNotFoundError:
        raise ServerMissing(
            f"`modelpress-server` is not installed for {sys.executable}",
            hint="`pip install modelpress-server`, or send the model to a service with `modelpress submit`.",
        ) from None


def prepare(
    folder: Path,
    job: Job,
    model: Path,
    train: LocalData | None = None,
    evaluation: LocalData | None = None,
    architecture: Architecture | None = None,
) -> Job:
    """Make `folder` a job folder: copies of the inputs, and `job.json`; answers the job with its files filled in.

    Args:
        architecture: of a model that is a checkpoint of bare weights.

    Raises:
        FileUnreadable: a file is not there or may not be read.
    """
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    name = f"model{model.suffix or '.onnx'}"
    _copy(model, inputs / name)
    if architecture is not None:
        architecture.write(inputs)
    for file in external_files(model):
        _copy(file, inputs / file.name)
    data = JobData(
        train=_place(inputs, "train", train), eval=_place(inputs, "eval", evaluation), splits=job.data.splits
    )
    job = job.model_copy(update={"model": name, "data": data})
    (folder / "job.json").write_text(job.model_dump_json(indent=2), "utf-8")
    return job


def _place(inputs: Path, role: str, data: LocalData | None) -> DatasetFiles | None:
    if data is None:
        return None
    names = [f"{role}_{number}_{file.name}" for number, file in enumerate(data.files)]
    for file, name in zip(data.files, names, strict=True):
        _copy(file, inputs / name)
    return DatasetFiles(files=names, **data.format.model_dump())


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise FileUnreadable(f"{source}: {error.strerror}") from None


def run(folder: Path, on_event: Callable[[Answer], None]) -> Result:
    """Run the job in `folder` and answer its result; the outputs lie in `folder/outputs`.

    Raises:
        ProblemError: the one that the job ended with.
        ServerMissing: there is nothing to run it with.
        CoreCrashed: the computation ended without a result.
    """
    require_core()
    with (folder / "log.txt").open("wb") as log, _child(folder, log) as child:
        events = _Events(folder / "events.jsonl")
        while child.poll() is None:
            for event in events.new():
                on_event(event)
            time.sleep(LOOK)
        for event in events.new():
            on_event(event)
    return _outcome(folder, child.returncode)


def inspection_of(result: Result) -> Inspection:
    """What an `inspect` job found."""
    return Inspection.model_validate(result.inspection)


@contextmanager
def _child(folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The computation in a session of its own; gone when this ends, however it ends."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "core", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class _Events:
    """The whole lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> Iterator[Answer]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
        self._offset += len(whole + end)
        for line in whole.splitlines():
            try:
                yield parse_event(json.loads(line))
            except (ValueError, ValidationError):
                continue  # what can't be read is not worth losing the job for


def _outcome(folder: Path, code: int) -> Result:
    try:
        raw: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise _crash(folder, code) from None
    if "code" in raw:
        raise error_of(Problem.model_validate(raw))
    return Result.model_validate(raw)


def _crash(folder: Path, code: int) -> CoreCrashed:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    said = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()[-5:]
    hint = "Out of memory, perhaps." if code == -signal.SIGKILL else ""
    return CoreCrashed(
        f"the computation {how} and left no result. Its last words: {' / '.join(said) or 'none'}", hint=hint
    )


def keep_outputs(folder: Path, target: Path) -> list[Path]:
    """Copy the outputs and `result.json` into `target`, the result last; each has its name only once whole."""
    target.mkdir(parents=True, exist_ok=True)
    kept = []
    for source in [*sorted((folder / "outputs").iterdir()), folder / "result.json"]:
        partial = target / f".{source.name}.partial"
        shutil.copyfile(source, partial)
        kept.append(Path(partial.replace(target / source.name)))
    return kept
