"""The shape plane: the nodes that compute with sizes and indices, on the CPU whatever the device."""

from torch import fx

from core.network.ops.shape import shape_of, size_of

ROOTS = (shape_of, size_of)


def shape_plane(graph: fx.GraphModule) -> set[fx.Node]:
    """Nodes that compute from sizes alone, and the constants that only they read."""
    plane: set[fx.Node] = set()
    for node in graph.graph.nodes:
        inputs = [argument for argument in node.all_input_nodes if argument.op != "get_attr"]
        if node.target in ROOTS or (node.op == "call_function" and inputs and plane.issuperset(inputs)):
            plane.add(node)
    constants = {node for node in graph.graph.nodes if node.op == "get_attr" and plane.issuperset(node.users)}
    return plane | constants
