"""Compact filters: a cheaper convolution in place of a full one."""

from typing import ClassVar, Literal

from pydantic import Field

from modelpress.steps.base import LayerStep, Stage


class DepthwiseSeparable(LayerStep):
    """Depthwise and pointwise convolutions in place of a full one, fitted to its output layer by layer."""

    stage = Stage.STRUCTURE
    family = "filters"
    kinds: ClassVar[tuple[str, ...]] = ("Conv",)

    technique: Literal["filters.depthwise_separable"] = "filters.depthwise_separable"
    iterations: int = Field(
        default=200, ge=0, le=100_000, description="Steps of fitting each layer to the original's output."
    )
    learning_rate: float = Field(default=0.003, gt=0.0, le=1.0, description="Step size of the fitting (Adam).")
    batch_size: int = Field(default=32, ge=1, le=4096, description="Samples a step of the fitting.")
