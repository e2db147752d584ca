"""Results: what a job made, what was measured on it, and which data were used for what."""

from typing import Any, Literal

from pydantic import Field

from modelpress.base import CONTRACT, Answer


class Measurement(Answer):
    """One figure. `value` is null where it could not be measured; it is never a guess."""

    subject: str = Field(description="`original`, a candidate's name, or `candidate:layer` for a layer.")
    metric: str = Field(
        description="Such as `top1`, `parameters`, `nonzeros`, `macs`, `bytes`, `latency_ms_b1`, `speedup_b1`."
    )
    value: float | None
    low: float | None = Field(default=None, description="Lower end of the 95 % interval, where there is one.")
    high: float | None = None
    unit: str = Field(default="", description="Such as `fraction`, `bytes`, `ms`, `ratio`; empty for counts.")
    role: str | None = Field(default=None, description="Role of the data it was measured on: `select` or `test`.")
    samples: int | None = Field(default=None, description="Number of samples or of timed runs behind it.")


class Candidate(Answer):
    """A network that a step produced and that passed the sound gate."""

    name: str
    step: int = Field(description="Index of the step it came after; -1 for the original.")
    technique: str | None = None
    inside_limits: bool | None = Field(
        default=None, description="Null where no limit was declared or it was not judged."
    )
    outside: list[str] = Field(default_factory=list, description="The limits it breaks, in words.")
    measurements: list[Measurement] = Field(default_factory=list)


class StepRecord(Answer):
    index: int
    technique: str
    status: Literal["done", "skipped"] | str
    seconds: float
    reason: str = ""
    notes: list[str] = Field(
        default_factory=list, description="What it did, layer by layer, and what it left alone and why."
    )


class DataUse(Answer):
    role: str
    dataset: str = Field(description="`train` or `eval`.")
    samples: int
    used_for: str


class Decision(Answer):
    """A choice made from a measurement, written down so that a re-run replays it."""

    key: str
    value: Any
    because: str = ""


class Environment(Answer):
    """Where the figures were measured."""

    device: str
    processor: str
    features: list[str] = Field(
        default_factory=list, description="Processor features that matter: avx2, avx512_vnni, amx_int8."
    )
    threads: int
    versions: dict[str, str] = Field(default_factory=dict)


class Survey(Answer):
    """Cheng et al.'s figures, by their formulas: a, a* parameters, s, s* running times."""

    alpha: float | None = Field(description="Compression rate a / a*.")
    beta_survey: float | None = Field(description="Index-space saving as printed, (a - a*) / a*.")
    space_saving: float | None = Field(description="The usual saving, 1 - a* / a.")
    delta: float | None = Field(description="Speed-up s / s*.")


class Artifact(Answer):
    name: str = Field(description="File name in `outputs/`.")
    bytes: int
    sha256: str
    media_type: str = "application/octet-stream"


class Result(Answer):
    """`result.json` of a job that ended well. Of a job that failed it holds a `Problem` instead."""

    contract: int = CONTRACT
    kind: str = "compress"
    candidates: list[Candidate] = Field(default_factory=list, description="The original first.")
    best: str | None = Field(default=None, description="Name of the candidate that became `model.onnx`.")
    survey: Survey | None = None
    steps: list[StepRecord] = Field(default_factory=list)
    data: list[DataUse] = Field(default_factory=list)
    decisions: list[Decision] = Field(default_factory=list)
    environment: Environment | None = None
    artifacts: list[Artifact] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    inspection: dict[str, Any] | None = Field(default=None, description="For `inspect` jobs: an `Inspection`.")
