"""Load time and peak memory of a model, measured in a small process of its own.

Run as a script it is that process; it imports nothing but NumPy and onnxruntime, so that little else is in its memory.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

LOADS = 3
MOST_SECONDS = 120


def measure_footprint(
    model: Path, shapes: dict[str, tuple[tuple[int, ...], str]], threads: int | None
) -> dict[str, float]:
    """`load_ms`, the median of a few loads, and `peak_bytes`, what loading and one run add to the process at its peak.

    Args:
        shapes: shape and element type of each input.

    Returns:
        Nothing where no process can be started or the model can't be run in it.
    """
    question = json.dumps({"model": str(model), "inputs": shapes, "threads": threads or 0})
    command = [sys.executable, "-I", __file__]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=MOST_SECONDS, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def main() -> None:
    import numpy as np
    import onnxruntime

    question = json.load(sys.stdin)
    inputs = {name: np.zeros(shape, dtype) for name, (shape, dtype) in question["inputs"].items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = question["threads"]
    options.log_severity_level = 4

    def load() -> tuple[onnxruntime.InferenceSession, float]:
        start = time.perf_counter()
        session = onnxruntime.InferenceSession(question["model"], options, providers=["CPUExecutionProvider"])
        return session, 1000 * (time.perf_counter() - start)

    before = start_peak()
    session, first = load()
    session.run(None, inputs)
    peak = peak_since(before)
    times = [first]
    del session
    for _ in range(LOADS - 1):
        times.append(load()[1])
    answer = {"load_ms": statistics.median(times)}
    if peak is not None and peak > 0:
        answer["peak_bytes"] = peak
    sys.stdout.write(json.dumps(answer))


def start_peak() -> int | None:
    """Bytes held now, the peak being counted from here on; None where that can't be had."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")
    except OSError:
        return None


def peak_since(before: int | None) -> int | None:
    """Most bytes held since `start_peak`, beyond what was held then."""
    return None if before is None else status("VmHWM") - before


def status(field: str) -> int:
    """A size in bytes out of Linux's /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
