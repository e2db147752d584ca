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
    """One node that holds parameters or multiplies. Sums over all of them are the model's totals."""

    name: str
    type: str = Field(description="Operator, such as `Conv`.")
    weight_shape: list[int] | None = Field(description="Shape in torch's layout: (out, in / groups, *kernel).")
    parameters: int = Field(description="Those shared with an earlier layer are counted there.")
    macs: int | None = Field(description="Multiply-accumulates for one sample; null where it could not be run.")
    bytes: int = Field(description="Of the stored tensors: packed as the file packs them, scales and statistics too.")
    activation_bytes: int | None = Field(
        default=None, description="Of its outputs for one sample, in the file's type; null where it could not be run."
    )
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
    weight_bytes: int = Field(default=0, description="Of the stored tensors of all layers and others.")
    peak_activation_bytes: int | None = Field(
        default=None,
        description="Most bytes of activations that one sample needs at once, nodes run in the file's order and no "
        "memory written twice by one operator; null where it could not be run.",
    )
    counted_on: dict[str, list[int]] = Field(
        default_factory=dict,
        description="Shapes of the inputs that shapes, multiply-accumulates and activations hold for.",
    )
    prunable: int | None = Field(default=None, description="Filters that can be removed; null where not analysed.")
    filters: int | None = Field(default=None, description="Filters, that is output channels with weights, in all.")
    locks: dict[str, int] = Field(default_factory=dict, description="How many filters can't go, by the reason why.")
    opset: int = 0
    ir_version: int = 0
    producer: str = ""
    layers: list[LayerInfo] = Field(default_factory=list, description="What the steps of a recipe can name.")
    others: list[LayerInfo] = Field(
        default_factory=list,
        description="What else holds parameters or multiplies: constants of arithmetic, attention, opaque operators.",
    )
    notes: list[str] = Field(
        default_factory=list, description="What a user should know: old format, opaque parts, ties."
    )
