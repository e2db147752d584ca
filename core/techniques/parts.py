"""What techniques that put other layers in a layer's place share: choosing, building the parts, replacing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from core.techniques.distinct import chosen_layers
from modelpress.problem import StepError
from modelpress.steps import LayerStep

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Layer, Network

M = TypeVar("M", bound=nn.Module)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS: dict[int, type[Convolution]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A Linear layer of the given (out, in) weight."""
    with torch.device("meta"):
        module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(module, weight, bias)


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    *,
    like: Convolution | None = None,
    axes: Sequence[int] | None = None,
    groups: int = 1,
) -> Convolution:
    """A convolution of the given (out, in / groups, *kernel) weight.

    Args:
        like: whose stride, padding and dilation it takes over; 1, 0 and 1 without it.
        axes: the spatial axes on which it does; all if left out.
    """
    rank = weight.dim() - 2
    taken = range(rank) if axes is None else axes

    def geometry(name: str, otherwise: int) -> tuple[int, ...]:
        found = getattr(like, name) if like is not None else ()
        return tuple(found[axis] if like is not None and axis in taken else otherwise for axis in range(rank))

    with torch.device("meta"):
        module = CONVOLUTIONS[rank](
            weight.shape[1] * groups,
            weight.shape[0],
            tuple(weight.shape[2:]),  # pyright: ignore[reportArgumentType]  its length is the rank's
            stride=geometry("stride", 1),  # pyright: ignore[reportArgumentType]  same
            padding=geometry("padding", 0),  # pyright: ignore[reportArgumentType]  same
            dilation=geometry("dilation", 1),  # pyright: ignore[reportArgumentType]  same
            groups=groups,
            bias=bias is not None,
        )
    return _filled(module, weight, bias)


def _filled(module: M, weight: Tensor, bias: Tensor | None) -> M:
    module.weight = nn.Parameter(weight.detach().clone().contiguous())
    if bias is not None:
        module.bias = nn.Parameter(bias.detach().clone())
    return module.eval()


@dataclass(frozen=True)
class Replacement:
    """What is to stand in a layer's place.

    Attributes:
        parts: modules in order, by the name of the part.
        cost: their multiply-accumulates as a fraction of the layer's.
        note: what was done, for the report.
    """

    parts: Mapping[str, nn.Module]
    cost: float
    note: str


def layers_to_replace(network: Network, step: LayerStep, ctx: Context) -> list[Layer]:
    """The chosen layers without grouped convolutions, whose groups are a factorisation already.

    Raises:
        StepError: none is left.
    """
    chosen = chosen_layers(network, step)
    whole = [layer for layer in chosen if layer.groups == 1]
    for layer in chosen:
        if layer.groups > 1:
            ctx.note(f"{layer.name}: left alone, it has {layer.groups} groups")
    if not whole:
        raise StepError(
            f"{step.technique} has no layer to work on: it takes ungrouped {', '.join(step.kinds)}",
            hint="Choose other layers; `inspect` lists them with their types and groups.",
        )
    return whole


def put(network: Network, layer: Layer, new: Replacement, only_if_smaller: bool, ctx: Context) -> bool:
    """Replace the layer, unless that saves neither parameters nor time and it was asked to. Returns whether it did."""
    size = parameter_count(new.parts.values()) / parameter_count([layer.module])
    figures = f"{size:.3g} x the parameters, {new.cost:.3g} x the MACs"
    if only_if_smaller and (size >= 1 or new.cost >= 1):
        ctx.note(f"{layer.name}: left alone, {new.note} would have {figures}")
        return False
    network.replace(layer, dict(new.parts))
    ctx.note(f"{layer.name}: {new.note}, {figures}")
    return True


def parameter_count(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
