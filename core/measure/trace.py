"""One run of a model, node by node: which nodes ran, on which shapes, for how long. From onnxruntime's own profile."""

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from core.measure.runner import Arrays, open_session
from core.network.protos import all_graphs

SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeRun:
    """One execution of one node."""

    name: str
    op_type: str
    input_shapes: list[list[int]]
    output_shapes: list[list[int]]
    microseconds: float


def named_copy(proto: ModelProto) -> tuple[ModelProto, dict[str, NodeProto]]:
    """The model with a unique name at every node, and those nodes by name.

    The main graph's nodes are called `node_0`, `node_1`, ... by their place.
    """
    copy = ModelProto()
    copy.CopyFrom(proto)
    nodes = {}
    for depth, graph in enumerate(all_graphs(copy.graph)):
        prefix = "node" if depth == 0 else f"inner{depth}"
        for index, node in enumerate(graph.node):
            node.name = f"{prefix}_{index}"
            nodes[node.name] = node
    return copy, nodes


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
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    found = [node_run(event) for event in events if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)]
    return found if runs == 1 else found[len(found) // (runs + 1) :]


def node_run(event: dict) -> NodeRun:
    told = event["args"]
    return NodeRun(
        name=event["name"].removesuffix(SUFFIX),
        op_type=told.get("op_name", ""),
        input_shapes=[next(iter(entry.values())) for entry in told.get("input_type_shape", [])],
        output_shapes=[next(iter(entry.values())) for entry in told.get("output_type_shape", [])],
        microseconds=float(event["dur"]),
    )


def macs_of(run: NodeRun, node: NodeProto) -> int:
    """Multiply-accumulates of one execution; 0 for operators without any to speak of.

    Convolutions, matrix products and recurrent cells count; elementwise work, pooling and normalisation do not.
    """
    shapes, out = run.input_shapes, run.output_shapes
    match run.op_type:
        case "Conv" | "ConvInteger":
            return math.prod(out[0]) * math.prod(shapes[1][1:])
        case "QLinearConv":
            return math.prod(out[0]) * math.prod(shapes[3][1:])
        case "ConvTranspose":
            return math.prod(shapes[0]) * math.prod(shapes[1][1:])
        case "Gemm":
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return math.prod(out[0]) * shapes[0][0 if transposed else -1]
        case "MatMul" | "MatMulInteger" | "QLinearMatMul":
            return math.prod(out[0]) * (shapes[0][-1] if shapes[0] else 1)
        case "LSTM" | "GRU" | "RNN":
            steps, batch = shapes[0][:2]
            return steps * batch * (math.prod(shapes[1]) + math.prod(shapes[2]))
    return 0
