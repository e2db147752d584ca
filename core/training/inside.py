"""What a layer inside a network sees and gives."""

import torch
from torch import Tensor, fx

from core.network.one_sample import find_one_sample, over_inside


def around(graph: fx.GraphModule, layer: str) -> fx.GraphModule:
    """A graph on the same modules that gives a layer's input and output, and computes no more than these need."""
    if outer := find_one_sample(graph):
        return over_inside(outer, around(outer.graph, layer), outputs=2)
    copy = fx.Graph()
    copy.graph_copy(graph.graph, {})
    node = next(node for node in copy.nodes if node.meta.get("layer") == layer)
    copy.output((node.args[0], node))
    result = fx.GraphModule(graph, copy)
    result.graph.eliminate_dead_code()
    result.recompile()
    return result.eval()


@torch.no_grad()
def seen(graph: fx.GraphModule, layer: str, batches: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """A layer's inputs and outputs for all batches together."""
    inner = around(graph, layer)
    inputs, outputs = zip(*(inner(*arguments) for arguments in batches), strict=True)
    return torch.cat(inputs), torch.cat(outputs)
