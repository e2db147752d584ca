"""k-means of numbers on a line."""

import numpy as np


def kmeans_1d(numbers: np.ndarray, k: int, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers by Lloyd's algorithm from centroids spread evenly between the least and the greatest.

    Han, Mao, Dally 2016, "Deep Compression", arXiv:1510.00149, section 3.2: linear initialisation keeps centroids
    for the few large weights, which matter most. On a line a cluster is an interval, so that a round takes one
    binary search a centroid in the sorted numbers, and running sums.

    Args:
        numbers: (n,) floating point.
        k: most clusters; empty ones are dropped.
        iterations: most rounds; it stops earlier where nothing moves.

    Returns:
        centroids: (at most k,) float32, ascending; the numbers themselves where at most k are different.
        index: (n,) uint8, the centroid nearest to each number.

    Raises:
        ValueError: k is not within 1 to 256.
    """
    if not 1 <= k <= 256:
        raise ValueError(f"k must be within 1 to 256, got {k}")
    if numbers.size == 0:
        return np.zeros(1, np.float32), np.zeros(0, np.uint8)
    values = np.sort(numbers.astype(np.float64))
    centroids = _few_different(values, k)
    if centroids is None:
        centroids = _lloyd(values, np.linspace(values[0], values[-1], k), iterations)
    centroids = np.unique(centroids.astype(np.float32))
    return centroids, np.searchsorted(_borders(centroids.astype(np.float64)), numbers).astype(np.uint8)


def _few_different(values: np.ndarray, k: int) -> np.ndarray | None:
    """The different numbers of a sorted array if there are at most k."""
    is_new = np.diff(values, prepend=np.nan) != 0
    return values[is_new] if np.count_nonzero(is_new) <= k else None


def _lloyd(values: np.ndarray, centroids: np.ndarray, iterations: int) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(iterations):
        edges = np.concatenate([[0], np.searchsorted(values, _borders(centroids)), [values.size]])
        counts = np.diff(edges)
        moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    edges = np.concatenate([[0], np.searchsorted(values, _borders(centroids)), [values.size]])
    return centroids[np.diff(edges) > 0]


def _borders(centroids: np.ndarray) -> np.ndarray:
    return (centroids[1:] + centroids[:-1]) / 2
