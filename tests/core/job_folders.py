"""Small models, small data and job folders for tests of the computation."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.clock import Clock
from core.events import Events
from core.job import run
from core.read_job import read_job
from modelpress.result import Result

CLASSES = 3


def cnn(seed: int = 0, *, batch: int | str = "N", width: int = 8) -> ModelProto:
    """Conv 1 -> width -> 2 width, pooling, Gemm, on 8 x 8 images of one channel; `x` to `logits` of three classes."""
    random = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> TensorProto:
        values = random.normal(size=shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        return numpy_helper.from_array(values.astype(np.float32), name)

    weights = [
        tensor("conv1.weight", width, 1, 3, 3),
        tensor("conv1.bias", width),
        tensor("conv2.weight", 2 * width, width, 3, 3),
        tensor("conv2.bias", 2 * width),
        tensor("fc.weight", CLASSES, 2 * width),
        tensor("fc.bias", CLASSES),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], name="third", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])]
    graph = helper.make_graph(nodes, "cnn", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright in the left, middle or right third: (count, 1, 8, 8) float32 and (count,) int64."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    x = random.normal(size=(count, 1, 8, 8)).astype(np.float32) * 0.1
    for row, label in enumerate(labels):
        x[row, 0, :, 3 * label : 3 * label + 2] += 1.0
    return x, labels.astype(np.int64)


def job_folder(
    folder: Path, recipe: list[dict[str, Any]], *, model: ModelProto | None = None, samples: int = 60, **fields: Any
) -> Path:
    """A job folder with a classification job on labelled images; `fields` go into `job.json`."""
    (folder / "inputs").mkdir(parents=True)
    onnx.save(model or cnn(), folder / "inputs" / "model.onnx")
    x, y = images(samples)
    np.savez(folder / "inputs" / "train.npz", x=x, y=y)
    job = {
        "recipe": recipe,
        "task": {"type": "classification"},
        "data": {"train": {"format": "npz", "labels": "y", "files": ["train.npz"]}},
        "measuring": {"repeats": 5},
        "device": ["cpu"],
        **fields,
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def run_here(folder: Path, clock: Clock | None = None) -> Result:
    """Do the job in this process, not closed in."""
    job = read_job(folder / "job.json")
    with Events(folder / "events.jsonl") as events:
        return run(folder, job, events, clock or Clock(job.budget.run_seconds))


def start_core(folder: Path) -> subprocess.Popen[bytes]:
    """`python -P -m core folder`, as the service starts it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "core", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run_core(folder: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and `result.json`, empty if there is none."""
    process = start_core(folder)
    _, error = process.communicate(timeout=240)
    assert b"Traceback" not in error, error.decode()
    path = folder / "result.json"
    return process.returncode, json.loads(path.read_text()) if path.is_file() else {}


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
