"""The REST resources as they travel: requests are strict, answers keep what they don't know.

Answers return the stored JSON of a recipe, task and so on (`Any` here), never re-parsed types, so that an older
client still reads newer jobs and renaming a step breaks no reading.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, Discriminator, Field, Tag

from modelpress.base import Answer, Request
from modelpress.data import Cut, DatasetFormat
from modelpress.inspection import Inspection
from modelpress.job import Budget, Measuring, Target
from modelpress.problem import Problem
from modelpress.recipe import MOST_STEPS, in_order
from modelpress.result import Result
from modelpress.steps import AnyStep
from modelpress.task import Match, Task

STATES = ("waiting", "queued", "running", "cancelling", "succeeded", "failed", "cancelled")
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Lower-case hex SHA-256.")]
Name = Annotated[str, Field(min_length=1, max_length=200, description="For people; need not be unique.")]
Tags = Annotated[
    dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=200)]],
    Field(max_length=32, description="Your own key-value pairs, to filter by."),
]

T = TypeVar("T")


class Page(Answer, Generic[T]):
    """A page of a list, newest first."""

    data: list[T]
    has_more: bool = False
    next_cursor: str | None = Field(default=None, description="Pass as `cursor` for the next page.")


# -- uploads ------------------------------------------------------------------------------------------------


class UploadRequest(Request):
    """Announce a file. If this project already holds these bytes, nothing needs to be sent."""

    filename: str = Field(min_length=1, max_length=255, description="For people; never used as a path.")
    size_bytes: int = Field(ge=0, description="Size of the file.")
    sha256: Sha256


class Transfer(Answer):
    """How to send the parts."""

    mode: Literal["none", "proxy", "direct"] | str = Field(
        description="`none`: the bytes are here. `proxy`: PUT parts to this API. `direct`: to signed addresses."
    )
    part_size: int = Field(default=0, description="Bytes of every part but the last.")
    parts: int = 0


class Upload(Answer):
    id: str
    filename: str
    size_bytes: int
    sha256: str
    state: Literal["pending", "verifying", "completed", "failed", "expired"] | str
    transfer: Transfer
    received_parts: list[int] = Field(default_factory=list, description="Numbers, from 1, of the parts that arrived.")
    error: Problem | None = None
    created_at: datetime
    expires_at: datetime | None = None


class SignRequest(Request):
    """Ask for addresses to PUT parts to."""

    part_numbers: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        min_length=1, max_length=100, description="Parts, from 1, that are about to be sent."
    )


class SignedPart(Answer):
    number: int
    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class SignedParts(Answer):
    parts: list[SignedPart]
    expires_at: datetime


# -- models and data sets -----------------------------------------------------------------------------------


class FileRef(Request):
    """One file of a model: what to call it, and the upload that holds it."""

    path: str = Field(
        min_length=1,
        max_length=255,
        description="Plain file name, as the model refers to it; no folders.",
        pattern=r"^[^/\\\x00]+$",
    )
    upload_id: str = Field(description="The upload that holds it.")


class ModelRequest(Request):
    """A model from one upload, or from several where it has external data."""

    name: Name
    upload_id: str | None = Field(default=None, description="The upload that holds the `.onnx` file.")
    files: list[FileRef] = Field(
        default_factory=list,
        max_length=1000,
        description="Instead of `upload_id`: the `.onnx` file first, then its external data; or a `.safetensors` "
        "checkpoint first, then an `architecture.json` with the `name` of its network in the zoo.",
    )
    tags: Tags = Field(default_factory=dict)


class FileInfo(Answer):
    path: str
    size_bytes: int
    sha256: str


class Model(Answer):
    id: str
    object: str = "model"
    name: str
    state: Literal["validating", "ready", "rejected"] | str
    format: str = "onnx"
    files: list[FileInfo] = Field(default_factory=list)
    size_bytes: int = 0
    inspection: Inspection | None = None
    error: Problem | None = Field(default=None, description="Why it was rejected.")
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: datetime


class DatasetRequest(DatasetFormat):
    """A data set from uploads, with how its files are read."""

    name: Name
    upload_ids: list[str] = Field(min_length=1, max_length=100, description="Its files, in order.")
    tags: Tags = Field(default_factory=dict)


class Dataset(Answer):
    id: str
    object: str = "dataset"
    name: str
    state: Literal["verifying", "ready", "rejected"] | str
    format: dict[str, Any] = Field(default_factory=dict, description="How its files are read: a `DatasetFormat`.")
    files: list[FileInfo] = Field(default_factory=list)
    size_bytes: int = 0
    error: Problem | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: datetime


# -- jobs ---------------------------------------------------------------------------------------------------


class JobDataRequest(Cut):
    """Ids of data sets; `train` alone is cut into all roles."""

    train: str | None = Field(default=None, description="Id of the data set that may be learnt from.")
    eval: str | None = Field(default=None, description="Id of the data set that is measured on.")


def _kind_of_recipe(value: Any) -> str:
    return "(name)" if isinstance(value, str) else "(steps)"


StepsOrName = Annotated[
    Annotated[list[AnyStep], Field(max_length=MOST_STEPS), AfterValidator(in_order), Tag("(steps)")]
    | Annotated[str, Field(min_length=1, max_length=200), Tag("(name)")],
    Discriminator(_kind_of_recipe),
]


class JobRequest(Request):
    """A model, what to do with it, and what to aim for."""

    model_id: str = Field(description="The model to work on.")
    recipe: StepsOrName = Field(
        description="Steps in order, or the name of a built-in recipe; `[]` imports, measures and exports.",
        examples=["half_the_macs", [{"technique": "prune.filters", "macs": 0.5}, {"technique": "recover"}]],
    )
    name: Name | None = Field(default=None, description="For people; need not be unique.")
    task: Task = Field(default_factory=Match, description="What the outputs mean.")
    data: JobDataRequest = Field(default_factory=JobDataRequest, description="The data sets and their splits.")
    target: Target = Field(default_factory=Target, description="What to aim for, within which limits.")
    budget: Budget = Field(default_factory=Budget, description="Most time and memory.")
    measuring: Measuring = Field(default_factory=Measuring, description="How latency is measured.")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Same seed, data and device class: same network, byte for byte."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device class; `auto` prefers CUDA where a worker has it."
    )
    priority: int = Field(default=0, ge=-100, le=100, description="Higher goes first.")
    tags: Tags = Field(default_factory=dict)


class JobProgress(Answer):
    fraction: float = 0.0
    phase: str = ""
    step: int | None = None
    message: str = ""
    seconds_left: float | None = None


class Job(Answer):
    id: str
    object: str = "job"
    kind: str = "compress"
    name: str | None = None
    model_id: str | None = None
    state: Literal["waiting", "queued", "running", "cancelling", "succeeded", "failed", "cancelled"] | str
    is_terminal: bool
    progress: JobProgress = Field(default_factory=JobProgress)
    recipe: list[Any] = Field(default_factory=list)
    task: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    target: dict[str, Any] = Field(default_factory=dict)
    budget: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    device: list[str] = Field(default_factory=list, description="Classes that may run it, best first.")
    priority: int = 0
    attempt: int = 0
    max_attempts: int = 3
    error: Problem | None = None
    result: Result | None = Field(default=None, description="There once it succeeded.")
    parent_job_id: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    contract: int = 1
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    url: str | None = None


class Estimate(Answer):
    """Answer of a dry run: nothing was created."""

    valid: bool = True
    recipe: list[Any] = Field(description="The steps with all defaults written out.")
    seconds: float | None = Field(default=None, description="Expected run time; null where nothing comparable has run.")
    queue_position: int = Field(description="Jobs that would go first.")
    notes: list[str] = Field(default_factory=list)


class Event(Answer):
    """One event of a job: `data` is one of `modelpress.events`."""

    seq: int = Field(
        description="Number within the job, from 1; resume after it with `Last-Event-ID`. `progress`, which is not "
        "kept, has the number of the event before it."
    )
    type: str
    data: dict[str, Any]
    created_at: datetime


class ArtifactInfo(Answer):
    id: str
    job_id: str
    name: str
    size_bytes: int
    sha256: str
    media_type: str = "application/octet-stream"
    created_at: datetime


class Technique(Answer):
    """One technique of the catalogue."""

    name: str
    family: str
    stage: str | None
    summary: str
    kinds: list[str] = Field(default_factory=list, description="Operators it works on.")
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of the step.")


class BuiltInRecipe(Answer):
    name: str
    summary: str
    recipe: list[Any]


class Catalogue(Answer):
    techniques: list[Technique]
    recipes: list[BuiltInRecipe]


class Version(Answer):
    version: str
    contract: int
    versions: dict[str, str] = Field(default_factory=dict)


# -- keys ---------------------------------------------------------------------------------------------------


class ApiKeyRequest(Request):
    """A key for somebody or something."""

    name: Name
    scope: Literal["read", "write", "admin"] = Field(
        default="write", description="`read` sees, `write` also creates and cancels, `admin` also makes keys."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="When it stops working; left out means never.")


class ApiKey(Answer):
    id: str
    object: str = "api_key"
    name: str
    scopes: list[str]
    key: str | None = Field(default=None, description="The key itself; only in the answer that made it.")
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
