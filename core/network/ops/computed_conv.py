"""Convolutions whose weights are computed: filters made for each input, templates that are searched for."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.registry import Call, emits

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    strides: list[int],
    padding: list[int],
    dilations: list[int],
    groups: int,
) -> Tensor:
    """(n, in, *places) and (out, in / groups, *kernel) to (n, out, *places); zeros are padded on both sides."""
    return CONVOLVE[len(strides)](x, weight, bias, strides, padding, dilations, groups)


def convolve_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    strides: list[int],
    padding: list[int],
    extra: list[int],
    dilations: list[int],
    groups: int,
) -> Tensor:
    """(n, in, *places) and (in, out / groups, *kernel) to (n, out, *places); `padding` is cropped, `extra` added."""
    return TRANSPOSED[len(strides)](x, weight, bias, strides, padding, extra, groups, dilations)


@emits(convolve, convolve_transposed)
def emit_convolve(out: Emission, call: Call) -> str:
    literals = call.kwargs
    attributes: dict[str, Any] = {
        "strides": literals["strides"],
        "dilations": literals["dilations"],
        "pads": [*literals["padding"], *literals["padding"]],
        "group": literals["groups"],
    }
    if call.node.target is convolve:
        return out.node("Conv", call.inputs, name=call.base, **attributes)
    return out.node("ConvTranspose", call.inputs, name=call.base, **attributes, output_padding=literals["extra"])
