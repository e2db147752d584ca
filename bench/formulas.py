"""What each way of writing a weight costs in the file and when stock onnxruntime loads it, against the plain matrix.

Each load is a process of its own, on one thread; its peak is what it holds beyond the runtime itself.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper

from bench.record import keep
from core.formulas import AffineInt8, Codebook, Emitter, Formula, Masked

SIZES = ("4096x4096", "25088x4096")
DENSITY = {"masked, gaps, 4 %": 0.04, "masked, gaps, 10 %": 0.10, "masked, bits, 50 %": 0.5}

LOAD = """
import json, sys, time
import onnxruntime
from core.measure.peak import peak_memory
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
with peak_memory() as peak:
    began = time.perf_counter()
    onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - began
print(json.dumps([seconds, peak.bytes]))
"""


def main(arguments: list[str]) -> None:
    keep("formulas", {size: measure(*(int(side) for side in size.split("x"))) for size in arguments or SIZES})


def measure(rows: int, columns: int) -> dict[str, dict[str, float | None]]:
    """File size, load time and peak of one layer's weight in every form."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    figures = {}
    for name, make in forms(weight).items():
        formula = make()
        formula.fit(weight)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            notes = write(formula, path)
            seconds, peak = json.loads(
                subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, capture_output=True).stdout
            )
            figures[name] = {
                "MB": round(path.stat().st_size / 1e6, 1),
                "load, s": round(seconds, 2),
                "peak / dense bytes": None if peak is None else round(peak / (4 * weight.numel()), 2),
                "written dense": bool(notes),
            }
    return figures


def forms(weight: torch.Tensor) -> dict[str, Callable[[], Formula]]:
    def masked(density: float, values: Formula | None = None) -> Formula:
        kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < density
        return Masked(kept, values)

    return {
        "plain": lambda: Plain(),
        **{name: (lambda density=density: masked(density)) for name, density in DENSITY.items()},
        "masked, 10 %, codebook of 16": lambda: masked(0.10, Codebook(4)),
        "codebook of 16": lambda: Codebook(4, iterations=5),
        "codebook of 256": lambda: Codebook(8, iterations=5),
        "affine int8": lambda: AffineInt8(),
    }


class Plain(Formula):
    """The weight as it is."""

    kind = "plain"

    def fit(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def forward(self) -> torch.Tensor:
        return self.weight


def write(formula: Formula, path: Path) -> list[str]:
    """A model of one matrix product with the emitted weight; returns the emitter's notes."""
    out = Emitter()
    weight = formula.emit(out, "weight")
    out.node("MatMul", ["x", weight], name="y")
    rows, columns = formula().shape
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in (("x", rows), ("y", columns))]
    graph = helper.make_graph(out.nodes, "formula", ports[:1], ports[1:], out.initializers)
    opset = helper.make_opsetid("", max(out.min_opset, 13))
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=max(out.min_ir, 8)), str(path))
    return out.notes
