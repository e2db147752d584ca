"""What is known of a model from looking at it once: the base of every check at submit."""

from pydantic import Field

from modelpress.base import Answer


class TensorInfo(Answer):
    """One input or output."""

    name: str
    type: str = Field(description="Element type, such as `float32`.")
    shape: list[int | str | None] = Field(description="Sizes; a name or null where the size is free.")


class OperatorCount(Answer):
    count: int
    native: bool = Field(description="Whether it is differentiable here; otherwise it runs in onnxruntime, untouched.")


class LayerInfo(Answer):
    """One layer that owns weights."""

    name: str
    type: str = Field(description="Operator, such as `Conv`.")
    weight_shape: list[int] | None = Field(description="Shape in torch's layout: (out, in / groups, *kernel).")
    parameters: int
    macs: int | None = Field(description="Multiply-accumulates for one sample; null where it could not be run.")
    bytes: int
    output_shape: list[int] | None = Field(
        description="For one sample, batch axis included; null where it could not be run."
    )
    in_channels: int | None = None
    out_channels: int | None = None
    groups: int = 1
    prunable: int | None = Field(
        default=None, description="Output channels that can be removed; null where not analysed."
    )
    locked: str | None = Field(default=None, description="Why channels can't be removed, if they can't.")
    frozen: bool = Field(
        default=False, description="Whether no gradient reaches it: every path to the outputs is opaque."
    )


class Inspection(Answer):
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    operators: dict[str, OperatorCount]
    parameters: int
    macs: int | None
    bytes: int = Field(description="Size of the model's files.")
    opset: int = 0
    ir_version: int = 0
    producer: str = ""
    layers: list[LayerInfo] = Field(default_factory=list)
    notes: list[str] = Field(
        default_factory=list, description="What a user should know: old format, opaque parts, ties."
    )
