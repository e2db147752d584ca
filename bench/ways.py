"""`python -m bench.ways WAY MODEL RUNS`: time and peak memory of one way to copy a model, in a process of its own."""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import torch

from core.network.network import Network


def load_and_save(path: Path, out: Path) -> None:
    onnx.save(onnx.load(str(path)), str(out))


def unchanged(path: Path, out: Path) -> None:
    Network.from_onnx(path).to_onnx(out)


def changed(path: Path, out: Path) -> None:
    network = Network.from_onnx(path)
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.mul_(0.5)
    network.to_onnx(out)


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "onnx load + save": load_and_save,
    "import + export, unchanged": unchanged,
    "import + export, all weights changed": changed,
}


def main(way: str, model: str, runs: str) -> None:
    path = Path(model)
    out = path.with_suffix(".out")
    warm_up(path.parent, WAYS[way])
    base, times, peaks = resident("VmRSS"), [], []
    for _ in range(int(runs)):
        began = time.perf_counter()
        WAYS[way](path, out)
        times.append(time.perf_counter() - began)
        peaks.append(resident("VmHWM"))  # later runs have the garbage of earlier ones beside them
        gc.collect()
    print(json.dumps({"seconds": statistics.median(times), "bytes": peaks[0] - base}))


def warm_up(folder: Path, copy: Callable[[Path, Path], None]) -> None:
    """What is loaded at first use is no part of a copy."""
    one = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 1, 1, 1], [1.0])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 1, 1]) for name in "xy")
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([conv], "warm", [x], [y], [one])
    path = folder / "warm.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), str(path))
    copy(path, folder / "warm.out")


def resident(field: str) -> int:
    """Bytes of memory that the process holds (VmRSS), or at most held (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
