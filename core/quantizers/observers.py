"""What is remembered of an activation while calibration data stream through: a few numbers, or a histogram."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.quantizers.divergence import least_divergence

BINS = 4096
CHUNK = 2**20
"""Elements counted at once: bounds what counting itself allocates."""


class Range(NamedTuple):
    """The values that the integers have to span."""

    low: float
    high: float


class Observer(Protocol):
    """Sees every value of an activation once, keeps a fixed amount of memory."""

    def observe(self, x: Tensor) -> None: ...

    def range(self) -> Range | None:
        """The chosen range; None where nothing was seen."""
        ...


class MinMax:
    """The whole range that was seen."""

    def __init__(self) -> None:
        self._seen: Range | None = None

    def observe(self, x: Tensor) -> None:
        if x.numel():
            low, high = (float(bound) for bound in x.detach().aminmax())
            seen = self._seen or Range(low, high)
            self._seen = Range(min(low, seen.low), max(high, seen.high))

    def range(self) -> Range | None:
        return self._seen


class Histogram:
    """Counts in bins of equal width; where a value lies outside, neighbouring bins are merged until it fits.

    Widths only double and bins merge whole, so that nothing is ever estimated: only where a value lies inside its bin
    is forgotten. At least a quarter of the bins stays in use.
    """

    def __init__(self, bins: int = BINS) -> None:
        assert bins % 4 == 0
        self.counts = torch.zeros(bins, dtype=torch.int64)
        self.low = 0.0
        self.width = 0.0
        self.extremes = MinMax()

    @property
    def high(self) -> float:
        return self.low + self.width * len(self.counts)

    def observe(self, x: Tensor) -> None:
        """Count the elements of `x`. Raises ValueError where one is not finite."""
        if not x.numel():
            return
        low, high = (float(bound) for bound in x.detach().aminmax())
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise ValueError("an activation is not finite")
        self.extremes.observe(torch.tensor([low, high], dtype=torch.float64))
        self._start(low, high) if not self.width else self._grow(low, high)
        for part in x.detach().flatten().split(CHUNK):
            places = part.double().sub_(self.low).div_(self.width).int().clamp_(0, len(self.counts) - 1)
            self.counts += torch.bincount(places, minlength=len(self.counts)).cpu()

    def _start(self, low: float, high: float) -> None:
        span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-30)
        self.low, self.width = low, 1.0001 * span / len(self.counts)

    def _grow(self, low: float, high: float) -> None:
        while low < self.low:
            self.low -= self.width * len(self.counts)
            self._merge(above=True)
        while high >= self.high:
            self._merge(above=False)

    def _merge(self, above: bool) -> None:
        """Double the width; what was counted goes to the upper or the lower half."""
        halves = [self.counts.reshape(-1, 2).sum(1), torch.zeros(len(self.counts) // 2, dtype=torch.int64)]
        self.counts = torch.cat(halves[::-1] if above else halves)
        self.width *= 2

    def edges(self) -> Tensor:
        """(bins + 1,) float64."""
        return self.low + self.width * torch.arange(len(self.counts) + 1, dtype=torch.float64)


class Percentile(Histogram):
    """The range that holds a share of the values.

    Where all values have one sign only the other end is cut; else both, alike.
    """

    def __init__(self, percent: float, bins: int = BINS) -> None:
        """
        Args:
            percent: share of the values inside the range, above 50, at most 100.
        """
        super().__init__(bins)
        self.percent = percent

    def range(self) -> Range | None:
        seen = self.extremes.range()
        if seen is None:
            return None
        outside = 1 - self.percent / 100
        if seen.low >= 0:
            return Range(seen.low, min(seen.high, self.quantile(1 - outside)))
        if seen.high <= 0:
            return Range(max(seen.low, self.quantile(outside)), seen.high)
        low, high = self.quantile(outside / 2), self.quantile(1 - outside / 2)
        return Range(max(seen.low, low), min(seen.high, high))

    def quantile(self, fraction: float) -> float:
        """The value below which a fraction of what was seen lies, linear inside a bin."""
        reached = torch.cat([torch.zeros(1, dtype=torch.float64), self.counts.double().cumsum(0)])
        wanted = fraction * reached[-1]
        place = int(torch.searchsorted(reached, wanted).clamp(1, len(self.counts))) - 1
        inside = float(wanted - reached[place]) / max(float(self.counts[place]), 1.0)
        return self.low + self.width * (place + min(max(inside, 0.0), 1.0))


class Entropy(Histogram):
    """The range that loses the least information, by Kullback-Leibler divergence."""

    def range(self) -> Range | None:
        seen = self.extremes.range()
        if seen is None or seen.low == seen.high:
            return seen
        return Range(*least_divergence(self.counts, self.edges(), seen.low, seen.high))
