"""Recovery: win back what the steps before lost."""

from typing import Literal

from pydantic import Field

from modelpress.steps.base import AUGMENTATION, Augmentation, Step


class Recover(Step):
    """Re-estimate statistics, then fine-tune towards the original's outputs and the labels."""

    stage = None
    family = "recovery"

    technique: Literal["recover"] = "recover"
    statistics: bool = Field(
        default=True,
        description="First re-estimate batch norms, or correct each channel's mean and variance where there are none.",
    )
    epochs: float = Field(
        default=5.0, ge=0.0, le=10_000.0, description="Most passes over the training data; 0 only re-estimates."
    )
    learning_rate: float = Field(
        default=0.01, gt=0.0, le=10.0, description="Peak step size (SGD with momentum, cosine)."
    )
    batch_size: int = Field(default=64, ge=1, le=65_536, description="Samples a step.")
    soft_weight: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="Weight of the original's outputs; the rest goes to the labels, if there are any.",
    )
    temperature: float = Field(default=2.0, ge=1.0, le=100.0, description="Softening of both outputs, for classifiers.")
    patience: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Stop after this many epochs without a better figure on the selection data.",
    )
    augmentation: Augmentation = Field(default="none", description=AUGMENTATION)
    weight_decay: float = Field(default=1e-4, ge=0.0, le=1.0, description="L2 penalty on weights.")
