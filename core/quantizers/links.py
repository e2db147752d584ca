"""Biases follow the scales of what they are added to."""

from torch import fx

from core.formulas import AffineInt8, BiasInt32, formula_of
from core.quantizers.activation import ActivationQuantizer


def link_biases(graph: fx.GraphModule) -> None:
    """Let every integer bias of a network follow the scales of its layer's input and weight."""
    for node in graph.graph.nodes:
        if node.op != "call_module" or not node.meta.get("layer") or not node.args:
            continue
        module = graph.get_submodule(str(node.target))
        weight, bias = formula_of(module), formula_of(module, "bias")
        edge = node.args[0]
        source = graph.get_submodule(str(edge.target)) if edge.op == "call_module" else None
        if isinstance(bias, BiasInt32) and isinstance(weight, AffineInt8) and isinstance(source, ActivationQuantizer):
            bias.link(source.scale, weight)
