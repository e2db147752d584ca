"""Checkpoints: all that a job needs to go on after the last finished step, in `checkpoints/`.

    decisions.json        choices that rest on measured times, written as they are made
    job.sha256            what the checkpoints belong to
    step-000/             the original; step-001 is after the first step, and so on
      state.json          its candidate with all measurements, its record, its warnings
      model.onnx          the exported candidate; missing where the step was skipped
      network/            the network as data, of the newest step only: what the next one starts from
    work-001/             what the step that is running keeps for itself; gone once it is done

A step's folder appears whole, by one rename, before `step.finished` is said.
"""

import hashlib
import os
import shutil
from pathlib import Path

from pydantic import BaseModel, Field

from core.atomic import write_text
from core.network.network import Network
from modelpress.job import Job
from modelpress.result import Candidate, StepRecord

MODEL, NETWORK, STATE = "model.onnx", "network", "state.json"


class StepState(BaseModel):
    """What is known after a step; step -1 is the original."""

    step: int
    candidate: Candidate | None = None
    record: StepRecord | None = None
    warnings: list[str] = Field(default_factory=list)
    main_metric: str | None = None
    pruned: int = 0
    """Weights that masks hold at zero."""
    parity: float = 0.0
    """Relative error between torch and onnxruntime."""


class Checkpoints:
    """The checkpoints of one job folder."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        self._belong_to(job)

    def _belong_to(self, job: Job) -> None:
        """Start afresh where the folder holds another job's; only the budget may change."""
        text = job.model_dump_json(exclude={"budget", "id"})
        mark, digest = self.folder / "job.sha256", hashlib.sha256(text.encode()).hexdigest()
        if not mark.is_file() or mark.read_text("utf-8") != digest:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_text(mark, digest)

    def place(self, step: int) -> Path:
        return self.folder / f"step-{step + 1:03d}"

    def model(self, step: int) -> Path:
        return self.place(step) / MODEL

    def work(self, step: int) -> Path:
        """A folder that the step may keep things in; it survives being cut off."""
        folder = self.folder / f"work-{step + 1:03d}"
        folder.mkdir(exist_ok=True)
        return folder

    def find(self, step: int) -> StepState | None:
        """What is known after a step, None if it was not finished."""
        path = self.place(step) / STATE
        return StepState.model_validate_json(path.read_text("utf-8")) if path.is_file() else None

    def staging(self, step: int) -> Path:
        """A new folder to fill for `commit`."""
        folder = self.folder / f".step-{step + 1:03d}.partial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commit(self, state: StepState, staging: Path) -> None:
        """Make what lies in `staging` the checkpoint of a step, and drop what no later step needs."""
        write_text(staging / STATE, state.model_dump_json(indent=1))
        flush(staging)
        os.replace(staging, self.place(state.step))
        flush(self.folder)
        if (self.place(state.step) / NETWORK).exists():
            for earlier in range(-1, state.step):
                shutil.rmtree(self.place(earlier) / NETWORK, ignore_errors=True)
        shutil.rmtree(self.work(state.step))

    def network(self) -> Network:
        """The network of the newest step, read back from disk."""
        newest = max(path for path in self.folder.glob(f"step-*/{NETWORK}"))
        return Network.load(newest)


def flush(folder: Path) -> None:
    """Have the system write a folder's files and its list of them to the disk."""
    for path in [*(file for file in folder.rglob("*") if file.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
