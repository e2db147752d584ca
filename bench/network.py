"""Import and export of large convolutional networks against onnx's own load and save.

The networks are the onnx package's light models with real-sized random weights.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx

from bench.record import keep
from core.network.channels import analyse
from core.network.network import Network
from tests.core.network import light

RUNS = 5


def main(arguments: list[str]) -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments or ["light_resnet50", "light_densenet121"]:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(light.load(name), str(path))
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
