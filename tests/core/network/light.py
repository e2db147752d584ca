"""The onnx package's light models: the graphs of nine well-known networks, with random weights put in.

As they come, every weight is a ConstantOfShape, and the output does not depend on the input at all.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, helper, numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = sorted(path.stem for path in FOLDER.glob("light_*.onnx"))


def load(name: str, seed: int = 0) -> ModelProto:
    """A light model with random weights in place of its constant ones."""
    return weighted(onnx.load(str(FOLDER / f"{name}.onnx")), seed)


def weighted(model: ModelProto, seed: int = 0) -> ModelProto:
    """The model with every ConstantOfShape of a known shape replaced by an initialiser.

    Weights are normal with variance 2 / fan-in (He et al. 2015, arXiv:1502.01852), scales and variances uniform
    in 0.5 to 1.5, other vectors normal with deviation 0.1. Shapes that nothing reads any more are gone.
    """
    graph, rng = model.graph, np.random.default_rng(seed)
    shapes = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    scales = _scales(graph)
    nodes = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            nodes.append(node)
            continue
        name, shape = node.output[0], [int(size) for size in shapes[node.input[0]]]
        values = rng.uniform(0.5, 1.5, shape) if name in scales else rng.standard_normal(shape) * _deviation(shape)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    read = {name for node in nodes for name in node.input}
    _assign(graph.node, nodes)
    _assign(graph.initializer, [value for value in graph.initializer if value.name in read])
    _assign(graph.input, [value for value in graph.input if value.name in read and value.name not in shapes])
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))


def logits(model: ModelProto) -> ModelProto:
    """The model without a last softmax, which would hide differences."""
    made = {node.output[0]: node for node in model.graph.node}
    for output in model.graph.output:
        last = made[output.name]
        if last.op_type == "Softmax":
            model.graph.node.remove(last)
            made[last.input[0]].output[0] = output.name
    return model


def _scales(graph: GraphProto) -> set[str]:
    """Names of what multiplies: a normalisation's scale and variance, and the factor of a Mul."""
    views = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Unsqueeze"}
    norms = {node.input[place] for node in graph.node if node.op_type == "BatchNormalization" for place in (1, 4)}
    factors = {name for node in graph.node if node.op_type == "Mul" for name in node.input}
    return norms | factors | {views[name] for name in factors if name in views}


def _deviation(shape: list[int]) -> float:
    return (2.0 / float(np.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1


def _assign(field: object, values: list) -> None:
    del field[:]  # pyright: ignore[reportIndexIssue]  # protobuf's repeated fields have no common type
    field.extend(values)  # pyright: ignore[reportAttributeAccessIssue]  # as above
