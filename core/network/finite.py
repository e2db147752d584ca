"""Weights must be numbers."""

import math

import torch
from torch import Tensor, fx

from core.network.reading import stored
from modelpress.problem import ModelNotFinite


def check_finite(graph: fx.GraphModule) -> None:
    """Refuse NaN in any constant, and infinity in the weights of layers.

    Infinity is a legitimate constant elsewhere: attention masks, bounds of Clip.

    Raises:
        ModelNotFinite: naming the tensor.
    """
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.meta.get("layer"):
            for name, tensor in stored(graph.get_submodule(str(node.target))):
                if not _is_sum_finite(tensor) and not bool(torch.isfinite(tensor).all()):
                    raise ModelNotFinite(f"{name} of layer {node.meta['layer']} holds {_first(tensor)}")
        elif node.op == "get_attr":
            tensor = getattr(graph, str(node.target))
            if not _is_sum_finite(tensor) and bool(torch.isnan(tensor).any()):
                raise ModelNotFinite(f"the constant {node.meta.get('value')!r} holds NaN")


def _is_sum_finite(tensor: Tensor) -> bool:
    """Which proves that the elements are, ten times faster than looking at each; a sum may still overflow."""
    return not tensor.is_floating_point() or math.isfinite(tensor.detach().sum().item())


def _first(tensor: Tensor) -> str:
    position = (~torch.isfinite(tensor)).nonzero()[0].tolist()
    return f"{tensor[tuple(position)].item()} at {position}"
