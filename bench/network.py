"""Import and export of large convolutional networks against onnx's own load and save.

The networks are the onnx package's light models with real-sized random weights.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bench.record import keep
from core.network.channels import analyse
from core.network.network import Network

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
RUNS = 5


def main(arguments: list[str]) -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments or ["light_resnet50", "light_densenet121"]:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(weighted(onnx.load(str(LIGHT / f"{name}.onnx"))), str(path))
            figures[name] = measure(path, Path(folder) / "out.onnx")
    keep("network", figures)


def measure(path: Path, out: Path) -> dict[str, float]:
    """Medians in seconds, the ways taken in turn."""
    network = Network.from_onnx(path)
    changed = Network.from_onnx(path)
    for layer in changed.layers(having="weight"):
        layer.weight.data.mul_(0.5)
    ways: dict[str, Callable[[], object]] = {
        "onnx load + save, s": lambda: onnx.save(onnx.load(str(path)), str(out)),
        "import, s": lambda: Network.from_onnx(path),
        "export unchanged, s": lambda: network.to_onnx(out),
        "export all weights changed, s": lambda: changed.to_onnx(out),
        "channel analysis, s": lambda: analyse(network),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - began)
    figures = {name: round(statistics.median(values), 3) for name, values in times.items()}
    both = figures["import, s"] + figures["export all weights changed, s"]
    ratio = round(both / figures["onnx load + save, s"], 2)
    return {"MB": round(path.stat().st_size / 1e6, 1), **figures, "ratio": ratio}


def weighted(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every constant weight replaced by seeded random ones, scaled by the fan-in.

    Light models make their weights by ConstantOfShape, so that the output does not depend on the input.
    """
    rng = np.random.default_rng(0)
    shapes = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = [int(size) for size in shapes[node.input[0]]]
        fan_in = max(int(np.prod(shape[1:])), 1) if len(shape) > 1 else 1
        values = rng.standard_normal(shape).astype(np.float32) * np.float32((2.0 / fan_in) ** 0.5)
        if node.output[0] in variances:
            values = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return helper.make_model(model.graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))
