"""How fast a model file is, next to the original: both timed in turn in one run, so that a noisy machine cancels."""

import time
from dataclasses import dataclass

import numpy as np
import onnxruntime

from core.measure.figures import Figure, percentile_interval
from core.measure.runner import Arrays

WARM_UP = 3
MOST_SECONDS = 30.0
FEWEST = 5
RESAMPLES = 1000


@dataclass(frozen=True)
class Timing:
    """Milliseconds of paired runs, (rounds,) each."""

    original: np.ndarray
    candidate: np.ndarray

    def figures(self, batch: int) -> list[Figure]:
        """`latency_ms_bN`, its 95th percentile, and `speedup_bN`: the ratio of medians with a bootstrap interval."""
        rounds = len(self.candidate)
        low, high = percentile_interval(bootstrap_medians(self.candidate[:, None])[:, 0])
        median = float(np.median(self.candidate))
        late = float(np.percentile(self.candidate, 95))
        medians = bootstrap_medians(np.stack([self.original, self.candidate], axis=1))
        ratio = float(np.median(self.original) / median)
        ratio_low, ratio_high = percentile_interval(medians[:, 0] / medians[:, 1])
        return [
            Figure(f"latency_ms_b{batch}", median, "ms", low, high, rounds),
            Figure(f"latency_p95_ms_b{batch}", late, "ms", samples=rounds),
            Figure(f"speedup_b{batch}", ratio, "ratio", ratio_low, ratio_high, rounds, higher_is_better=True),
        ]


def time_pair(
    original: onnxruntime.InferenceSession, candidate: onnxruntime.InferenceSession, inputs: Arrays, repeats: int
) -> Timing:
    """Run both in turn, each first every second round; fewer rounds than asked where they would take too long."""
    for _ in range(WARM_UP):
        rough = time_once(original, inputs) + time_once(candidate, inputs)
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
