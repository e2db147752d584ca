"""The layers that a step works on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import nn

from modelpress.problem import StepError
from modelpress.selection import select_layers
from modelpress.steps import LayerStep

if TYPE_CHECKING:
    from core.network.network import Layer, Network

MOST_NAMES = 20
"""In one note."""


def chosen_layers(network: Network, step: LayerStep) -> list[Layer]:
    """The weights of the chosen layers in graph order: a view of each matrix of a recurrent layer.

    Raises:
        StepError: there is none.
    """
    layers = select_layers(step.layers, network.layers(having="weight"), step.kinds)
    if not layers:
        raise StepError(
            f"{step.technique} has no layer to work on: it takes {', '.join(step.kinds)}",
            hint="Choose other layers; `inspect` lists them with their types.",
        )
    return [matrix for layer in layers for matrix in layer.matrices()]


def names_of(layers: Collection[Layer]) -> str:
    """Some names of many, for a note."""
    named = ", ".join(layer.name for layer in list(layers)[:MOST_NAMES])
    more = f", ... ({len(layers)} layers)" if len(layers) > MOST_NAMES else ""
    return f"{named}{more}" or "no layer"


def left_alone(network: Network, layers: Collection[Layer]) -> str:
    """The second half of a note: the layers with weights that the step was not for."""
    touched = {id(module) for layer in layers for module in layer.tied_modules()}
    rest = [layer for layer in network.layers(having="weight") if id(layer.module) not in touched]
    return f"not chosen or of another type: {names_of(rest)}" if rest else "no other layer has weights"


def distinct(layers: list[Layer]) -> list[Layer]:
    """Without the layers whose weight is tied to one that comes before."""
    found: list[Layer] = []
    tied: set[tuple[nn.Module, str]] = set()
    for layer in layers:
        if (layer.module, layer.tensor) not in tied:
            found.append(layer)
            tied.update(layer.places())
    return found
