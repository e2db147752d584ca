"""What the service adds around a job of no steps on a tiny model: submit to succeeded, embedded and full.

Beside it the same job by `python -m core` alone, so that the service's own part can be told apart.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

from bench.record import keep
from bench.stack import Stack, embedded, full
from core.zoo.build import build
from modelpress.job import Job

RUNS = 5


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        onnx.save(build("lenet_300_100", (1, 28, 28), 10, width=0.05), str(path))
        alone = statistics.median(core_alone(path, Path(folder)) for _ in range(RUNS))
        figures = {"core alone, s": round(alone, 3)}
        for name, stack in (("embedded", embedded), ("full", full)):
            with stack() as running:
                seconds = statistics.median(submit_to_succeeded(running, path))
            figures |= {f"{name}, s": round(seconds, 3), f"{name} beyond core, s": round(seconds - alone, 3)}
    keep("overhead", figures)


def core_alone(model: Path, folder: Path) -> float:
    job_dir = folder / "job"
    shutil.rmtree(job_dir, ignore_errors=True)
    (job_dir / "inputs").mkdir(parents=True)
    shutil.copy(model, job_dir / "inputs" / "model.onnx")
    (job_dir / "job.json").write_text(Job(device=["cpu"]).model_dump_json())
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "core", str(job_dir)], check=True, stdin=subprocess.PIPE, capture_output=True
    )
    return time.perf_counter() - began


def submit_to_succeeded(stack: Stack, path: Path) -> list[float]:
    """Seconds of each run, the first one left out."""
    model = stack.client.models.upload(path)
    seconds = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        stack.client.jobs.create(model, []).wait()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]
