"""Knowledge distillation: a smaller network learns from the original."""

from typing import Literal, Self

from pydantic import Field, model_validator

from modelpress.steps.base import Stage, Step
from modelpress.zoo import ZooName


class StudentDistillation(Step):
    """Train a student on the original's softened outputs (Hinton et al. 2015) and go on with it."""

    stage = Stage.STRUCTURE
    family = "distillation"

    technique: Literal["distill.student"] = "distill.student"
    student: Literal["thinner", ZooName] = Field(
        default="thinner", description="A thinner copy of the network, or a network of the zoo."
    )
    width: float = Field(
        default=0.5, gt=0.0, le=1.0, description="Channels of the student as a fraction of the full width."
    )
    depth: float = Field(
        default=1.0,
        gt=0.0,
        le=1.0,
        description="Blocks of each stage of a network of the zoo, as a fraction of its own; at least one stays.",
    )
    temperature: float = Field(default=4.0, ge=1.0, le=100.0, description="Softening of both outputs.")
    soft_weight: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="Weight of the teacher's outputs; the rest goes to the labels, if there are any.",
    )
    epochs: float = Field(default=30.0, gt=0.0, le=10_000.0, description="Passes over the training data.")
    learning_rate: float = Field(
        default=0.01, gt=0.0, le=10.0, description="Peak step size (SGD with momentum, cosine)."
    )
    batch_size: int = Field(default=64, ge=1, le=65_536, description="Samples a step.")

    @model_validator(mode="after")
    def depth_of_the_zoo(self) -> Self:
        if self.student == "thinner" and self.depth != 1.0:
            raise ValueError("a thinner copy keeps every layer: `depth` is for a student of the zoo")
        return self
