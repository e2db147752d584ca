"""Networks that are known by name: what a checkpoint of bare weights belongs to, and what a student may be."""

from typing import Annotated, Literal

from pydantic import Field

from modelpress.base import Request

ARCHITECTURE_FILE = "architecture.json"
"""What the file is called that lies beside a safetensors checkpoint and holds an `Architecture`."""

ZooName = Literal[
    "lenet_300_100",
    "lenet_5",
    "alexnet",
    "alexnet_owt",
    "nin",
    "all_cnn_c",
    "vgg16",
    "vgg19",
    "vgg16_bn",
    "vgg19_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_16_4",
    "wrn_16_8",
    "wrn_22_8",
    "wrn_28_10",
    "wrn_40_1",
    "wrn_40_2",
    "wrn_40_4",
    "densenet40",
    "densenet_bc_100",
    "googlenet",
    "googlenet_bn",
    "squeezenet1_0",
    "squeezenet1_1",
    "mobilenet_v1",
    "mobilenet_v2",
]


class Architecture(Request):
    """`architecture.json`: the network of the zoo whose weights a safetensors checkpoint holds.

    What is left out is read off the checkpoint; only how large images are is not in it, and then the paper's size is
    taken where it fits.
    """

    name: ZooName = Field(description="Name in the zoo.")
    classes: int | None = Field(default=None, ge=1, le=2**20, description="Outputs of the last layer.")
    input_shape: list[Annotated[int, Field(ge=1, le=2**16)]] | None = Field(
        default=None, min_length=1, max_length=8, description="One sample: channels, height, width."
    )
    width: float | None = Field(default=None, gt=0.0, le=16.0, description="Channels, as a fraction of the paper's.")
    depth: float | None = Field(
        default=None, gt=0.0, le=4.0, description="Blocks of each stage, as a fraction of the paper's."
    )
