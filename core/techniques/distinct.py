"""The layers that a step works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelpress.problem import StepError
from modelpress.selection import select_layers
from modelpress.steps import LayerStep

if TYPE_CHECKING:
    from core.network.network import Layer, Network


def chosen_layers(network: Network, step: LayerStep) -> list[Layer]:
    """The chosen layers in graph order.

    Raises:
        StepError: there is none.
    """
    layers = select_layers(step.layers, network.layers(having="weight"), step.kinds)
    if not layers:
        raise StepError(
            f"{step.technique} has no layer to work on: it takes {', '.join(step.kinds)}",
            hint="Choose other layers; `inspect` lists them with their types.",
        )
    return layers


def distinct(layers: list[Layer]) -> list[Layer]:
    """Without the layers whose weight is tied to one that comes before."""
    found: list[Layer] = []
    tied: set[int] = set()
    for layer in layers:
        if id(layer.module) not in tied:
            found.append(layer)
            tied.update(id(module) for module in layer.tied_modules())
    return found
