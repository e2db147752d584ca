"""One run of a model, node by node: which nodes ran, on which shapes, for how long. From onnxruntime's own profile."""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from core.measure.runner import Arrays, open_session
from core.network.protos import all_graphs
from core.network.runtime import patience

SUFFIX = "_kernel_time"

BITS = {"bool": 8, "double": 64, "float": 32, "half": 16, "float16": 16, "bfloat16": 16, "int4x2": 4, "uint4x2": 4}
"""Of one element, by onnxruntime's names of types; of others the name ends in them, or begins with float8."""


@dataclass(frozen=True)
class Seen:
    """A tensor as it went by."""

    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return (math.prod(self.shape) * bits_of(self.type) + 7) // 8


def bits_of(name: str) -> int:
    """Width of an element by onnxruntime's or numpy's name of its type."""
    name = name.lower()
    if name in BITS:
        return BITS[name]
    if name.startswith("float8"):
        return 8
    digits = name.removeprefix("u").removeprefix("int").removeprefix("float")
    return int(digits) if digits.isdigit() else 0


@dataclass(frozen=True)
class NodeRun:
    """One execution of one node. Tensors that were left out are left out here too."""

    name: str
    op_type: str
    inputs: tuple[Seen, ...]
    outputs: tuple[Seen, ...]
    microseconds: float


def named_copy(proto: ModelProto) -> tuple[ModelProto, dict[str, NodeProto]]:
    """The model with a unique name at every node, and those nodes by name.

    The main graph's nodes are called `node_0`, `node_1`, ... by their place.
    """
    copy = ModelProto()
    copy.CopyFrom(proto)
    nodes = {}
    for number, graph in enumerate(all_graphs(copy.graph)):
        for index, node in enumerate(graph.node):
            node.name = node_name(number, index)
            nodes[node.name] = node
    return copy, nodes


def node_name(graph: int, index: int) -> str:
    """What a named copy calls a node.

    Args:
        graph: its graph's place in `all_graphs`.
        index: its place there.
    """
    return f"inner{graph}_{index}" if graph else f"node_{index}"


def trace(proto: ModelProto, inputs: Arrays, scratch: Path, *, is_optimised: bool, runs: int = 1) -> list[NodeRun]:
    """What every node did in `runs` runs, in order, after one run to warm up where there are several.

    Raises:
        one of RUNTIME_ERRORS
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        session = open_session(path, is_optimised=is_optimised, profile=Path(folder) / "profile")
        for _ in range(runs if runs == 1 else runs + 1):
            with patience() as options:
                session.run(None, inputs, options)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    found = [node_run(event) for event in events if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)]
    return found if runs == 1 else found[len(found) // (runs + 1) :]


def node_run(event: dict) -> NodeRun:
    told = event["args"]
    return NodeRun(
        name=event["name"].removesuffix(SUFFIX),
        op_type=told.get("op_name", ""),
        inputs=_seen(told.get("input_type_shape", [])),
        outputs=_seen(told.get("output_type_shape", [])),
        microseconds=float(event["dur"]),
    )


def _seen(entries: list[dict[str, list[int]]]) -> tuple[Seen, ...]:
    return tuple(Seen(kind, tuple(shape)) for entry in entries for kind, shape in entry.items())


def at_their_places(names: Sequence[str], seen: Sequence[Seen]) -> list[Seen | None]:
    """What was seen, by the place of its name; None at names that are left out, and where it can't be told.

    Sequences go by unseen: then only names that all precede them are known.
    """
    given = [name for name in names if name]
    if len(given) != len(seen):
        return [None] * len(names)
    rest = iter(seen)
    return [next(rest) if name else None for name in names]


def sizes_by_running(proto: ModelProto, names: list[str], inputs: Arrays) -> dict[str, Seen]:
    """Values of the main graph that no profile shows: what operators give that onnxruntime runs as several.

    Raises:
        one of RUNTIME_ERRORS
    """
    copy = ModelProto()
    copy.CopyFrom(proto)
    held = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in held)
    with patience() as options:
        values = open_session(copy.SerializeToString(), is_optimised=False).run(names, inputs, options)
    return {
        name: Seen(value.dtype.name, value.shape)
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray)
    }
