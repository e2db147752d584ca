"""Sharing and quantisation: fewer bits for the same weights."""

from typing import ClassVar, Literal

from pydantic import Field

from modelpress.steps.base import WEIGHTS, LayerStep, Stage


class CodebookSharing(LayerStep):
    """Let the weights of a layer share a few values found by k-means. Smaller; runs no faster by itself."""

    stage = Stage.WEIGHTS
    family = "sharing"
    kinds: ClassVar[tuple[str, ...]] = WEIGHTS

    technique: Literal["share.codebook"] = "share.codebook"
    bits: int = Field(default=4, ge=1, le=8, description="Bits of an index: a layer keeps at most 2**bits values.")
    iterations: int = Field(default=50, ge=1, le=1000, description="Most rounds of k-means.")
    epochs: float = Field(
        default=0.0, ge=0.0, le=1000.0, description="Epochs of fine-tuning the shared values afterwards."
    )


class Int8Quantization(LayerStep):
    """Eight-bit weights and activations, with ranges found on calibration data. Smaller and faster."""

    stage = Stage.ACTIVATIONS
    family = "sharing"
    kinds: ClassVar[tuple[str, ...]] = ("Conv", "Gemm", "MatMul")

    technique: Literal["quantize.int8"] = "quantize.int8"
    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        default="percentile", description="How the range of an activation is chosen from what was seen."
    )
    percentile: float = Field(
        default=99.999,
        gt=50.0,
        le=100.0,
        description="Share of the activations inside the range, in percent, for `percentile`.",
    )
    samples: int = Field(default=256, ge=1, le=100_000, description="Most calibration samples to look at.")
    reduce_range: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="Seven-bit weights, which processors without VNNI need to avoid saturation; auto looks.",
    )
    correct_bias: bool = Field(default=True, description="Take the mean error of each output channel out of the bias.")
