"""Events: what a running job says, one a line in `events.jsonl`, then rows, then server-sent events."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from modelpress.base import Answer


class StepStarted(Answer):
    type: Literal["step.started"] = "step.started"
    step: int
    technique: str


class StepFinished(Answer):
    type: Literal["step.finished"] = "step.finished"
    step: int
    technique: str
    status: str = "done"
    seconds: float = 0.0


class Progress(Answer):
    type: Literal["progress"] = "progress"
    phase: str = Field(description="An open set: importing, measuring, compressing, exporting, ...")
    fraction: float = Field(ge=0.0, le=1.0, description="Of the whole job.")
    step: int | None = None
    message: str = ""
    seconds_left: float | None = None


class MetricEvent(Answer):
    type: Literal["metric"] = "metric"
    subject: str
    metric: str
    value: float | None
    unit: str = ""


class WarningEvent(Answer):
    type: Literal["warning"] = "warning"
    code: str
    message: str


class StateChanged(Answer):
    """Written by the service, never by the computation."""

    type: Literal["state"] = "state"
    state: str
    attempt: int = 0
    detail: str = ""


class UnknownEvent(Answer):
    """What a newer server says: kept as it came."""

    type: str


CoreEvent = Annotated[StepStarted | StepFinished | Progress | MetricEvent | WarningEvent, Field(discriminator="type")]
core_event: TypeAdapter[CoreEvent] = TypeAdapter(CoreEvent)
"""What the supervisor accepts from a job folder."""

KNOWN: dict[str, type[Answer]] = {
    cls.model_fields["type"].default: cls
    for cls in (StepStarted, StepFinished, Progress, MetricEvent, WarningEvent, StateChanged)
}


def parse_event(raw: dict[str, Any]) -> Answer:
    """The event as its own type, or as an UnknownEvent."""
    return KNOWN.get(raw.get("type", ""), UnknownEvent).model_validate(raw)
