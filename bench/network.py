"""Import and export against onnx's own load and save, steps in torch against torch by hand, and channel analysis.

The networks are the onnx package's light models with real-sized random weights, and an encoder of 1.3 GB. Each way to
copy a file runs in a process of its own, where its time and its peak of memory above the interpreter's are taken.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import torch_steps
from bench.record import keep
from bench.transformer import Encoder
from bench.ways import WAYS
from core.network.channels import analyse
from core.network.network import Network
from core.network.write import write_model
from tests.core.network import light

ENCODER = "encoder of 334 M parameters"
PROCESSES = 3  # of each way, in turns
COPIES = {ENCODER: 1}  # in each process
COPIES_OF_OTHERS = 5


def main(arguments: list[str]) -> None:
    names = arguments or [*light.NAMES, ENCODER]
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of itself
        folder = Path(scratch)
        copies = {name: copied(name, folder) for name in names}
        densenet = Network.from_proto(light.load("light_densenet121"))
        analysis = seconds(lambda: analyse(densenet))
        steps = torch_steps.measure(folder)
    keep("network", {"copies": copies, "in torch": steps, "channels of DenseNet-121, s": analysis})


def copied(name: str, folder: Path) -> dict[str, Any]:
    """Each way's median time and memory, as ratios to onnx's time and to the file."""
    path = folder / "model.onnx"
    write_model(Encoder().model() if name == ENCODER else light.load(name), path)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(PROCESSES):
        for way, found in runs.items():
            command = [sys.executable, "-m", "bench.ways", way, str(path), str(COPIES.get(name, COPIES_OF_OTHERS))]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    size = path.stat().st_size
    times = {way: statistics.median(run["seconds"] for run in found) for way, found in runs.items()}
    peaks = {way: statistics.median(run["bytes"] for run in found) for way, found in runs.items()}
    theirs = next(iter(times.values()))
    return {
        "MB": round(size / 1e6, 1),
        "seconds": {way: round(taken, 3) for way, taken in times.items()},
        "times onnx": {way: round(taken / theirs, 2) for way, taken in times.items()},
        "memory, files": {way: round(peak / size, 2) for way, peak in peaks.items()},
    }


def seconds(work: Callable[[], object]) -> float:
    """The median of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 3)
