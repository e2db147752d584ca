"""Run what a formula emits in stock onnxruntime, and look at what became of it when it was loaded."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from core.formulas import Emitter, Formula


def as_model(formula: Formula, kernel: bool = True) -> tuple[onnx.ModelProto, Emitter]:
    """A model that convolves (or, for a matrix, multiplies) its input with the emitted weight."""
    out = Emitter()
    weight = formula.emit(out, "layer.weight")
    shape = tuple(formula().shape)
    if kernel:
        operator = "Gemm" if len(shape) == 2 else "Conv"
        out.node(operator, ["x", weight], name="y", **({"transB": 1} if operator == "Gemm" else {}))
    else:
        out.node("Identity", [weight], name="y")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, shape[1], *(5 for _ in shape[2:])] if kernel else [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
    graph = helper.make_graph(out.nodes, "g", [x], [y], out.initializers)
    opset = helper.make_opsetid("", max(out.min_opset, 13))
    model = helper.make_model(graph, opset_imports=[opset], ir_version=max(out.min_ir, 7))
    onnx.checker.check_model(model)
    return model, out


def session(model: onnx.ModelProto, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    else:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def computed(formula: Formula) -> np.ndarray:
    """The dense weight as onnxruntime computes it from the emission."""
    model, _ = as_model(formula, kernel=False)
    return session(model).run(None, {"x": np.zeros(1, np.float32)})[0]


def folded(formula: Formula, folder: Path) -> tuple[list[str], list[np.ndarray]]:
    """Operators that are left after loading, and the constants they read."""
    model, _ = as_model(formula)
    session(model, folder / "optimized.onnx")
    graph = onnx.load(folder / "optimized.onnx").graph
    return [node.op_type for node in graph.node], [numpy_helper.to_array(i) for i in graph.initializer]
