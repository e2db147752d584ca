"""Figures with their 95 % intervals."""

import math
from dataclasses import dataclass

import numpy as np

from modelpress.result import Measurement

Z = 1.959963984540054  # the normal distribution's 97.5 % point
RESAMPLES = 400
RESAMPLED_AT_A_TIME = 2**22  # elements


@dataclass(frozen=True)
class Figure:
    """One measured number. `value` is None where it could not be measured."""

    metric: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    samples: int | None = None
    higher_is_better: bool = False

    def measurement(self, subject: str, role: str | None = None) -> Measurement:
        return Measurement(
            subject=subject,
            metric=self.metric,
            value=self.value,
            low=self.low,
            high=self.high,
            unit=self.unit,
            role=role,
            samples=self.samples,
        )


def share(metric: str, hits: np.ndarray) -> Figure:
    """Share of true among `hits`, with Wilson's interval."""
    count = len(hits)
    if not count:
        return Figure(metric, None, "fraction", samples=0, higher_is_better=True)
    low, high = wilson(int(hits.sum()), count)
    return Figure(metric, float(hits.mean()), "fraction", low, high, count, higher_is_better=True)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share; Wilson 1927, "Probable inference, the law of succession".

    Args:
        count: above 0.
    """
    p = hits / count
    middle = p + Z * Z / (2 * count)
    spread = Z * math.sqrt(p * (1 - p) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def mean(metric: str, values: np.ndarray, unit: str) -> Figure:
    """Mean of `values` with the normal interval; no interval from fewer than two."""
    count = len(values)
    if not count:
        return Figure(metric, None, unit, samples=0)
    middle = float(values.mean())
    if count < 2:
        return Figure(metric, middle, unit, samples=count)
    spread = Z * float(values.std(ddof=1)) / math.sqrt(count)
    return Figure(metric, middle, unit, middle - spread, middle + spread, count)


def resampled_means(columns: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of rows drawn with replacement, for bootstrap intervals.

    Args:
        columns: (samples, k)

    Returns:
        (RESAMPLES, k)
    """
    generator = np.random.default_rng(seed)
    count = len(columns)
    at_a_time = max(1, RESAMPLED_AT_A_TIME // count)
    means = []
    for start in range(0, RESAMPLES, at_a_time):
        rounds = min(at_a_time, RESAMPLES - start)
        means.append(columns[generator.integers(0, count, (rounds, count))].mean(axis=1))
    return np.concatenate(means)


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
