"""Topological order of ONNX nodes, and the cycle where there is none."""

from collections.abc import Sequence

from onnx import NodeProto

from core.network.protos import captured
from modelpress.problem import ModelCycle


def in_order(nodes: Sequence[NodeProto]) -> list[int]:
    """Indices of `nodes`, producers first; the given order wherever it already is one.

    Raises:
        ModelCycle: naming the nodes on a cycle.
    """
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [
        list(dict.fromkeys(producer[name] for name in [*node.input, *captured(node)] if name in producer))
        for node in nodes
    ]
    done: set[int] = set()
    order: list[int] = []
    for start in range(len(nodes)):
        _visit(start, needs, done, order, nodes)
    return order


def _visit(start: int, needs: list[list[int]], done: set[int], order: list[int], nodes: Sequence[NodeProto]) -> None:
    """Depth first without recursion: a hostile chain is as long as it likes."""
    path: dict[int, int] = {}  # node on the current path -> how many of its needs were looked at
    stack = [start]
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        looked = path.setdefault(node, 0)
        if looked == len(needs[node]):
            done.add(node)
            order.append(node)
            del path[node]
            stack.pop()
            continue
        path[node] = looked + 1
        following = needs[node][looked]
        if following in path:
            raise ModelCycle(f"these nodes depend on one another: {_cycle(path, following, nodes)}")
        if following not in done:
            stack.append(following)


def _cycle(path: dict[int, int], first: int, nodes: Sequence[NodeProto]) -> str:
    keys = list(path)
    members = keys[keys.index(first) :][:10]
    return ", ".join(nodes[index].name or "/".join(nodes[index].output) for index in members)
