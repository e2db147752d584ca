"""An addition of a vector folded into the matrix product before it, as its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, fx, nn

from core.network.ops.arithmetic import add

if TYPE_CHECKING:
    from core.network.network import Network


def fold_additions(network: Network) -> list[str]:
    """Turn each product of two axes that only a sum with a constant vector uses into a Gemm.

    Runtimes do so too when they load a model, and then find no integer kernel, as the bias is no integer.

    Returns:
        Names of the layers that got a bias.
    """
    folded: list[str] = []
    for layer in network.layers(kinds={"MatMul"}):
        shape = network.index.shape(str(layer.node.meta.get("value")))
        users = list(layer.node.users)
        if layer.module.bias is not None or shape is None or len(shape) != 2 or len(users) != 1:
            continue
        addend = _addend(network.graph, layer.node, users[0])
        if addend is None or addend.numel() != layer.out_channels or addend.shape[-1] != layer.out_channels:
            continue
        layer.module.bias = nn.Parameter(addend.detach().reshape(-1).clone())
        layer.node.meta["kind"] = "Gemm"
        users[0].replace_all_uses_with(layer.node)
        _remove(network, users[0])
        folded.append(layer.name)
    network.graph.recompile()
    return folded


def _addend(graph: fx.GraphModule, node: fx.Node, user: fx.Node) -> Tensor | None:
    """The constant that `user` adds to the node, if that is what it does."""
    if user.target is not add:
        return None
    other = user.args[1] if user.args[0] is node else user.args[0]
    return getattr(graph, str(other.target)) if isinstance(other, fx.Node) and other.op == "get_attr" else None


def _remove(network: Network, node: fx.Node) -> None:
    constants = [argument for argument in node.all_input_nodes if argument.op == "get_attr"]
    network.remove(node)
    for constant in constants:
        if not constant.users:
            network.remove(constant)
