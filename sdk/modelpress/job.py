"""Jobs: what lies in a job folder's `job.json`, and what a user asks for."""

from typing import Annotated, Literal

from pydantic import Field

from modelpress.base import CONTRACT, Request
from modelpress.data import Cut, DatasetFormat
from modelpress.steps import AnyStep
from modelpress.task import Match, Task

DeviceClass = Literal["cuda", "cpu"]


class Target(Request):
    """The wish: what to make small, and what it may cost. Limits judge candidates; they never stop a step."""

    objective: Literal["latency", "size", "macs", "metric"] | None = Field(
        default=None,
        description="What the best candidate has least (or, for `metric`, most) of; left out means the last one.",
    )
    max_drop: float | None = Field(
        default=None,
        ge=0.0,
        description="Most the main metric may get worse, in its own unit: 0.01 is one point of accuracy.",
    )
    min_speedup: float | None = Field(default=None, gt=0.0, description="Least ratio of original to candidate latency.")
    max_bytes: int | None = Field(default=None, gt=0, description="Most bytes of the model file.")


class Budget(Request):
    """Three clocks, three limits."""

    run_seconds: float = Field(
        default=6 * 3600.0, gt=0.0, le=7 * 86_400.0, description="Most seconds of running, all steps together."
    )
    queue_seconds: float | None = Field(
        default=None, gt=0.0, description="Most seconds of waiting for a device; left out means any."
    )
    no_progress_seconds: float = Field(
        default=1800.0, gt=0.0, description="Most seconds without a sign of life from the job."
    )
    memory_bytes: int | None = Field(
        default=None, gt=0, description="Most memory; left out means the worker's own limit."
    )


class Measuring(Request):
    """How latency is measured, on the exported file in onnxruntime."""

    batch_sizes: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        default_factory=lambda: [1],
        description="Batch sizes to time; a model of fixed batch is timed at its own.",
        max_length=8,
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="Threads of onnxruntime; left out means its own choice."
    )
    repeats: int = Field(default=30, ge=5, le=10_000, description="Timed runs of each, original and candidate in turn.")


class DatasetFiles(DatasetFormat):
    """A data set in a job folder."""

    files: list[str] = Field(description="Names in `inputs/`, in order.", min_length=1)


class JobData(Cut):
    """The data of a job: `train` is cut into roles unless there is an `eval` to measure on."""

    train: DatasetFiles | None = Field(default=None, description="What may be learnt from; null means none.")
    eval: DatasetFiles | None = Field(default=None, description="What is measured on; null means a part of `train`.")


class Job(Request):
    """`job.json`: all that the computation is told."""

    contract: int = Field(default=CONTRACT, description="Version of the contract this was written under.")
    id: str = Field(default="job", description="Who asked; for logs.")
    kind: Literal["inspect", "compress", "verify"] = Field(
        default="compress", description="Look at a model, compress it, or only hash the inputs."
    )
    model: str = Field(default="model.onnx", description="Name in `inputs/`; its external data lie beside it.")
    recipe: list[AnyStep] = Field(default_factory=list, description="Steps in order; none: import, measure, export.")
    task: Task = Field(default_factory=Match, description="What the outputs mean.")
    data: JobData = Field(default_factory=JobData, description="The data sets and their splits.")
    target: Target = Field(default_factory=Target, description="What to aim for, within which limits.")
    budget: Budget = Field(default_factory=Budget, description="Most time and memory.")
    measuring: Measuring = Field(default_factory=Measuring, description="How latency is measured.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Same seed, data and device class: same network.")
    device: list[DeviceClass] = Field(
        default_factory=lambda: ["cuda", "cpu"], description="Classes that may run it, best first."
    )
