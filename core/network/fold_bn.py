"""Batch normalisation folded into the layer before it: in eval mode both are one linear map.

Jacob et al. 2018, arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from core.formulas import attach, formula_of

if TYPE_CHECKING:
    from core.network.layer import Layer
    from core.network.network import Network

FOLDABLE = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def fold_batch_norms(network: Network) -> list[str]:
    """Fold every batch normalisation that directly follows a layer of its own.

    Left alone: norms behind a layer whose output others use too or whose weight is tied, and behind a weight
    whose formula can't express the folded one.

    Returns:
        Names of the norms that are gone; each is noted in `network.notes` too.
    """
    layers = {layer.node: layer for layer in network.layers()}
    folded: list[str] = []
    for norm in network.layers(kinds={"BatchNormalization"}):
        layer = layers.get(norm.node.all_input_nodes[0])
        if layer is None or not _can_fold(network, layer) or not _fold(layer, norm.module):
            continue
        norm.node.replace_all_uses_with(layer.node)
        network.remove(norm.node)
        network.notes.append(f"{norm.name} is folded into {layer.name}")
        folded.append(norm.name)
    network.graph.recompile()
    return folded


def _can_fold(network: Network, layer: Layer) -> bool:
    is_shared = len(layer.node.users) != 1 or len(layer.tied_modules()) > 1
    if layer.kind not in FOLDABLE or is_shared or formula_of(layer.module, "bias") is not None:
        return False
    return layer.kind != "MatMul" or _rank(network, layer.node) == 2


def _rank(network: Network, node: fx.Node) -> int | None:
    """Axes of a linear layer's output: with more than two, a norm's channels are not the layer's."""
    shape = network.index.shape(str(node.meta.get("value")))
    return None if shape is None else len(shape)


def _fold(layer: Layer, norm: Any) -> bool:
    """Whether the layer now computes what both did; nothing is changed if not."""
    scale = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).detach()
    dense = layer.weight.detach()
    weight = (dense.double() * _along_outputs(layer, scale)).to(dense.dtype)
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.detach().double()
    if not _set_weight(layer, weight):
        return False
    shifted = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
    layer.module.bias = nn.Parameter(shifted.to(dense.dtype))
    return True


def _along_outputs(layer: Layer, scale: Tensor) -> Tensor:
    """The (out,) scale in a shape that broadcasts against the weight."""
    weight, groups = layer.weight, layer.groups
    if layer.kind != "ConvTranspose":
        return scale.reshape(-1, *[1] * (weight.dim() - 1))
    per_input = scale.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)  # (groups, in/groups, out)
    return per_input.reshape(weight.shape[0], weight.shape[1], *[1] * (weight.dim() - 2))


def _set_weight(layer: Layer, weight: Tensor) -> bool:
    if layer.formula is None:
        layer.module.weight = nn.Parameter(weight)
        return True
    formula = copy.deepcopy(layer.formula)
    formula.fit(weight)
    if not torch.allclose(formula(), weight, rtol=1e-6, atol=0.0):
        return False
    attach(layer.module, formula)
    return True
