"""How fast a model file is, next to the original: both timed in turn in one run, so that a noisy machine cancels."""

import time
from dataclasses import dataclass

import numpy as np
import onnxruntime

from core.measure.figures import Figure, percentile_interval
from core.measure.runner import Arrays

WARM_UP, MOST_WARM_UP, WARM_UP_SECONDS = 3, 200, 0.05
MOST_SECONDS = 30.0
FEWEST = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class Timing:
    """Milliseconds of paired runs, (rounds,) each."""

    original: np.ndarray
    candidate: np.ndarray

    def figures(self, batch: int) -> list[Figure]:
        """`latency_ms_bN` and its 95th percentile; `original_latency_ms_bN` and its, of the same rounds; and
        `speedup_bN`, the ratio of the medians. Intervals are bootstrapped."""
        rounds = len(self.candidate)
        medians = bootstrap_medians(np.stack([self.original, self.candidate], axis=1))
        ratio = float(np.median(self.original) / np.median(self.candidate))
        low, high = percentile_interval(medians[:, 0] / medians[:, 1])
        return [
            *latencies("", batch, self.candidate, medians[:, 1]),
            *latencies("original_", batch, self.original, medians[:, 0]),
            Figure(f"speedup_b{batch}", ratio, "ratio", low, high, rounds, higher_is_better=True),
        ]

    def own_figures(self, batch: int) -> list[Figure]:
        """The latency alone, for the original, which there is nothing to compare with."""
        return latencies("", batch, self.candidate, bootstrap_medians(self.candidate[:, None])[:, 0])


def latencies(prefix: str, batch: int, times: np.ndarray, medians: np.ndarray) -> list[Figure]:
    """Median with its interval, and 95th percentile, of milliseconds."""
    low, high = percentile_interval(medians)
    return [
        Figure(f"{prefix}latency_ms_b{batch}", float(np.median(times)), "ms", low, high, len(times)),
        Figure(f"{prefix}latency_p95_ms_b{batch}", float(np.percentile(times, 95)), "ms", samples=len(times)),
    ]


def time_pair(
    original: onnxruntime.InferenceSession, candidate: onnxruntime.InferenceSession, inputs: Arrays, repeats: int
) -> Timing:
    """Run both in turn, each first every second round; fewer rounds than asked where they would take too long."""
    rough, began = 0.0, time.perf_counter()
    for number in range(MOST_WARM_UP):
        rough = time_once(original, inputs) + time_once(candidate, inputs)
        if number >= WARM_UP and time.perf_counter() - began > WARM_UP_SECONDS:
            break
    rounds = max(FEWEST, min(repeats, int(1000 * MOST_SECONDS / rough)))
    times = np.empty((rounds, 2))
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for which in order:
            times[number, which] = time_once((original, candidate)[which], inputs)
    return Timing(times[:, 0], times[:, 1])


def time_once(session: onnxruntime.InferenceSession, inputs: Arrays) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter_ns()
    session.run(None, inputs)
    return (time.perf_counter_ns() - start) / 1e6


def bootstrap_medians(columns: np.ndarray, seed: int = 0) -> np.ndarray:
    """(RESAMPLES, k) medians of rows of (rounds, k) drawn with replacement; pairs stay together."""
    rounds = len(columns)
    picks = np.random.default_rng(seed).integers(0, rounds, (RESAMPLES, rounds))
    return np.median(columns[picks], axis=1)
