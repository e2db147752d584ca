"""Memory of a run: the most bytes of values that must be held at once, by exact liveness in the order of the file.

A value is held from the node that makes it (an input from the start) to the last node that reads it (an output to
the end). Every operator writes to memory of its own; a view holds none of its own and keeps what it shows. Constants
and weights are not counted.
"""

from collections.abc import Callable, Mapping

from core.measure.scopes import Scope

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}
"""Dropout of a network that is run, not trained, is an identity."""


def peak_bytes(scope: Scope, sizes: Mapping[str, int], inside: Callable[[int], int] = lambda index: 0) -> int:
    """
    Args:
        sizes: bytes by name of every value that the graph makes or takes.
        inside: bytes held at once within the graphs of node `index` while it runs.

    Raises:
        KeyError: the size of a value is not known.
    """
    made, last, root = _spans(scope)
    change = [0] * (len(scope.nodes) + 2)
    for name, first in made.items():
        if root[name] == name:
            change[first] += sizes[name]
            change[last[name] + 1] -= sizes[name]
    held, peak = 0, 0
    for place, difference in enumerate(change):
        held += difference
        index = place - 1  # place 0 is before the first node
        extra = inside(index) if 0 <= index < len(scope.nodes) else 0
        peak = max(peak, held + extra)
    return peak


def _spans(scope: Scope) -> tuple[dict[str, int], dict[str, int], dict[str, str]]:
    """When each value is made, when its memory is last needed, and whose memory it shows.

    Times: 0 before the first node, k + 1 at node k.
    """
    made = dict.fromkeys(scope.inputs, 0)
    root = {name: name for name in made}
    last = dict(made)
    for index, node in enumerate(scope.nodes):
        if scope.is_folded(index):
            continue
        for name in scope.needs(index):
            if name in root:
                last[root[name]] = index + 1
        for place, name in enumerate(filter(None, node.output)):
            is_view = place == 0 and node.op_type in VIEWS and node.input[0] in root
            root[name] = root[node.input[0]] if is_view else name
            made[name] = last[root[name]] = index + 1
    for name in scope.outputs:
        if name in root:
            last[root[name]] = len(scope.nodes)
    return made, last, root
