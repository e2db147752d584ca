"""The range of a histogram that integers tell best.

Migacz 2017, "8-bit Inference with TensorRT", GTC, and onnxruntime's entropy calibration: the clipped distribution is
compared with what is left of it after quantising, and the range with the least Kullback-Leibler divergence wins.
Departures: 256 levels, as activations here are unsigned with a zero point, and one-sided data are clipped at their
far end only. As in TensorRT, the zeros that a ReLU makes don't count: zero is exact in any range, and a spike that
falls into one level with its neighbours would outweigh all else.
"""

import torch
from torch import Tensor

LEVELS = 256
STEP = 32  # bins between two candidates
LEAST = 0.01
"""A bin's share of an average one that keeps the divergence finite where quantising left nothing."""


def least_divergence(counts: Tensor, edges: Tensor, low: float, high: float) -> tuple[float, float]:
    """Low and high end of the best range.

    Args:
        counts: (bins,) how often each was seen.
        edges: (bins + 1,) ascending.
        low, high: the least and the greatest value seen.
    """
    counts = without_spike(counts.double(), edges)
    best, chosen = float("inf"), (low, high)
    widest = max(abs(low), abs(high))
    reach = float(edges[1] - edges[0])
    for bins in range(LEVELS // 2, int(widest / reach) + STEP + 1, STEP):
        limit = min(bins * reach, widest)
        candidate = (max(low, -limit), min(high, limit))
        found = _divergence(counts, edges, *candidate)
        if found < best:
            best, chosen = found, candidate
    return chosen


def without_spike(counts: Tensor, edges: Tensor) -> Tensor:
    """The counts with as many in zero's bin as in the fuller one beside it, at most."""
    place = int(torch.searchsorted(edges, torch.zeros((), dtype=edges.dtype), right=True)) - 1
    if not 0 <= place < len(counts):
        return counts
    beside = torch.cat([counts[max(place - 1, 0) : place], counts[place + 1 : place + 2]])
    counts = counts.clone()
    counts[place] = counts[place].minimum(beside.max())
    return counts


def _divergence(counts: Tensor, edges: Tensor, low: float, high: float) -> float:
    """Of what remains of the distribution inside a range, from the distribution with its tails at the ends."""
    first = int(torch.searchsorted(edges, torch.tensor(low, dtype=edges.dtype), right=True)) - 1
    last = int(torch.searchsorted(edges, torch.tensor(high, dtype=edges.dtype), right=True))
    first, last = max(first, 0), min(last, len(counts))
    inside = counts[first:last]
    clipped = inside.clone()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    level = torch.arange(len(inside)) * min(LEVELS, len(inside)) // len(inside)
    members = (inside > 0).double()
    sums = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, level, inside)
    sizes = torch.zeros(LEVELS, dtype=torch.float64).index_add_(0, level, members)
    quantised = members * (sums / sizes.clamp(min=1))[level]
    return _kullback_leibler(clipped, quantised)


def _kullback_leibler(p: Tensor, q: Tensor) -> float:
    """Sum of p log(p / q), both made to sum to one; infinite where nothing is left of q."""
    if not q.any():
        return float("inf")
    seen = p > 0
    floor = LEAST * q.sum().clamp(min=1) / len(q)
    p, q = p / p.sum(), torch.where(seen, q.clamp(min=float(floor)), q)
    q = q / q.sum()
    return float((p[seen] * (p[seen] / q[seen]).log()).sum())
