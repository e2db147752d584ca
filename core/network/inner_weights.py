"""Weights inside the branches of If, Loop and Scan: owned by the network, though onnxruntime runs the node.

They are taken out of the branches, which capture them from around them instead. So they are counted, and open to what
works on weights alone; no gradient reaches them.
"""

from collections.abc import Collection, Iterator, Mapping

from onnx import GraphProto, NodeProto, TensorProto
from torch import Tensor, nn

from core.network.names import FLOATS, unique
from core.network.protos import bound_names, rename_inputs, subgraphs

POSITIONS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1), "Gather": (0,)}
"""At which inputs these operators have a weight."""


class InnerWeight(nn.Module):
    """Gives its weight, in the file's own layout.

    Attributes:
        stored: element type in the file (onnx.TensorProto.DataType).
    """

    weight: Tensor

    def __init__(self, weight: nn.Parameter, stored: int) -> None:
        super().__init__()
        self.weight = weight
        self.stored = stored

    def forward(self) -> Tensor:
        return self.weight


def take_out(
    node: NodeProto, outer: Mapping[str, TensorProto], taken: set[str]
) -> tuple[NodeProto, dict[str, TensorProto]]:
    """The node without the weights of its branches, and these by the name under which it captures them.

    Args:
        outer: constants around the node, which its branches may read.
        taken: names that values have; those of the weights that are taken out are added.
    """
    copy = NodeProto()
    copy.CopyFrom(node)
    found: dict[str, TensorProto] = {}
    label = node.name or next(iter(node.output), node.op_type)
    for graph in subgraphs(copy):
        _take_out(graph, outer, f"{label}/", taken, found)
    return copy, found


def _take_out(
    graph: GraphProto, outer: Mapping[str, TensorProto], label: str, taken: set[str], found: dict[str, TensorProto]
) -> None:
    used = set(_weight_names(graph))
    fixed = {value.name for value in [*graph.input, *graph.output]}
    names: dict[str, str] = {}
    for name, tensor in _tensors(graph):
        if name in used and name not in fixed and _is_weight(tensor):
            names[name] = unique(label + name, taken)
            found[names[name]] = TensorProto.FromString(tensor.SerializeToString())
    _remove(graph, names.keys())
    for inner in graph.node:
        rename_inputs(inner, names)
    own = bound_names(graph)
    visible = {name: tensor for name, tensor in outer.items() if name not in own}
    found.update({name: visible[name] for name in used if name in visible and _is_weight(visible[name])})
    for inner in graph.node:
        for nested in subgraphs(inner):
            _take_out(nested, visible, label, taken, found)


def _weight_names(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        for position in POSITIONS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ():
            if position < len(node.input):
                yield node.input[position]


def _is_weight(tensor: TensorProto) -> bool:
    return tensor.data_type in FLOATS and len(tensor.dims) > 1 and 0 not in tensor.dims


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """What the graph itself holds: initialisers, and the values of Constant nodes."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")


def _remove(graph: GraphProto, names: Collection[str]) -> None:
    """The initialisers and constants of these names."""
    tensors = [index for index, tensor in enumerate(graph.initializer) if tensor.name in names]
    nodes = [k for k, node in enumerate(graph.node) if node.op_type == "Constant" and node.output[0] in names]
    for index in reversed(tensors):
        del graph.initializer[index]
    for index in reversed(nodes):
        del graph.node[index]
