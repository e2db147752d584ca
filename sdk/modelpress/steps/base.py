"""The base of every step, and how a step chooses layers."""

from enum import IntEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelpress.base import Request


class Stage(IntEnum):
    """Order in which steps may stand; a later step never has an earlier stage."""

    STRUCTURE = 0
    WEIGHTS = 1
    ACTIVATIONS = 2
    PACKING = 3


Glob = Annotated[str, Field(min_length=1, max_length=200)]


class Layers(Request):
    """Which layers a step works on. What is left out chooses everything the step can work on."""

    names: list[Glob] = Field(
        default_factory=lambda: ["*"],
        description="Shell patterns on layer names as `inspect` prints them.",
        min_length=1,
    )
    types: list[str] = Field(
        default_factory=list, description="Operators such as `Conv` or `Gemm`; empty means any.", max_length=50
    )
    positions: list[int] = Field(
        default_factory=list,
        description="Places in the list of layers, from 0, or from the end below 0; empty means any.",
        max_length=10_000,
    )
    skip: list[Glob] = Field(default_factory=list, description="Shell patterns on names of layers to leave alone.")

    @model_validator(mode="before")
    @classmethod
    def from_pattern(cls, value: Any) -> Any:
        """`layers: "conv*"` and `layers: [conv1, conv2]` mean names."""
        if isinstance(value, str):
            return {"names": [value]}
        if isinstance(value, list):
            return {"names": value}
        return value


Augmentation = Literal["none", "shift", "shift_and_flip"]
AUGMENTATION = (
    "How training images are changed at each visit, which makes few of them go further: moved by up to an eighth, and "
    "mirrored left to right. The original answers for the changed image; mirror only where labels survive it."
)


def _complete(schema: dict[str, Any], step: type[BaseModel]) -> None:
    """An example with all defaults written out, and what `technique` is, for every step alike."""
    schema["examples"] = [step().model_dump(mode="json", exclude_none=True)]
    if "technique" in schema.get("properties", {}):
        schema["properties"]["technique"]["description"] = "What to do: the name tells the kinds of step apart."


class Step(Request):
    """One technique of a recipe, with what it needs to know."""

    model_config = ConfigDict(json_schema_extra=_complete)

    stage: ClassVar[Stage | None] = Stage.STRUCTURE
    """None keeps the stage of the step before."""
    family: ClassVar[str]
    """The survey's family, the folder of `core/techniques` that holds it."""

    technique: str
    on_failure: Literal["stop", "skip"] = Field(
        default="stop",
        description="What happens if the step fails or leaves an unsound network: end the job, or go on without it.",
    )


MATRICES = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "RNN", "GRU", "LSTM")
"""Layers whose weights are matrices or kernels."""

WEIGHTS = (*MATRICES, "If", "Loop", "Scan")
"""Layers each element of whose weight can be changed by itself; of the last three it is what their branches hold."""


class LayerStep(Step):
    """A step that works on chosen layers."""

    kinds: ClassVar[tuple[str, ...]]
    """Operators this technique can work on."""

    layers: Layers = Field(default_factory=Layers, description="Which layers to work on.")
