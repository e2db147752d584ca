"""How long a model file takes to load, and how much memory to load and run."""

import statistics
import time
from pathlib import Path

from core.measure.figures import Figure
from core.measure.peak import peak_memory
from core.measure.runner import Arrays, open_session

LOADS = 3
MOST_SECONDS = 10.0
"""Beyond this a load is not repeated."""


def measure_footprint(model: Path, inputs: Arrays, threads: int | None) -> list[Figure]:
    """`load_ms`, the median of a few loads, and `peak_memory_bytes` of one load and one run, null where not known.

    Raises:
        one of RUNTIME_ERRORS
    """
    with peak_memory() as peak:
        seconds = [load(model, threads, inputs)]
    while len(seconds) < LOADS and sum(seconds) < MOST_SECONDS:
        seconds.append(load(model, threads))
    return [
        Figure("load_ms", 1000 * statistics.median(seconds), "ms", samples=len(seconds)),
        Figure("peak_memory_bytes", peak.bytes, "bytes"),
    ]


def load(model: Path, threads: int | None, inputs: Arrays | None = None) -> float:
    """Seconds of loading; then one run where there are inputs, outside of the time."""
    start = time.perf_counter()
    session = open_session(model, threads)
    seconds = time.perf_counter() - start
    if inputs is not None:
        session.run(None, inputs)
    return seconds
