"""k-means of numbers on a line."""

import numpy as np


def kmeans_1d(numbers: np.ndarray, k: int, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers by Lloyd's algorithm from centroids spread evenly between the least and the greatest.

    Han, Mao, Dally 2016, "Deep Compression", arXiv:1510.00149, section 3.2: linear initialisation keeps centroids
    for the few large weights, which matter most. On a line a cluster is an interval, so that a round takes one
    binary search a centroid in the sorted numbers, and running sums. Departure: a centroid that nothing is near to (as
    around zero, after pruning) goes to where the numbers are spread most.

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
    k = len(centroids)
    sums, squares = (np.concatenate([[0.0], np.cumsum(values**power)]) for power in (1, 2))
    for _ in range(iterations):
        edges = _edges(values, centroids)
        used = np.diff(edges) > 0
        edges = np.concatenate([edges[:-1][used], edges[-1:]])
        counts, means = np.diff(edges), np.diff(sums[edges]) / np.diff(edges)
        spread = np.maximum(np.diff(squares[edges]) - counts * means**2, 0.0)  # summed squared distances
        moved = _split_widest(means, np.sqrt(spread / counts), spread, k - len(means))
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids[np.diff(_edges(values, centroids)) > 0]


def _edges(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """(k + 1,) where each centroid's interval of the sorted values starts, and their end."""
    return np.concatenate([[0], np.searchsorted(values, _borders(centroids)), [values.size]])


def _split_widest(means: np.ndarray, deviation: np.ndarray, spread: np.ndarray, count: int) -> np.ndarray:
    """The means with `count` more: those of the largest spread stand for two, a deviation to either side."""
    widest = np.argsort(-spread, kind="stable")[:count]
    low, high = means[widest] - deviation[widest], means[widest] + deviation[widest]
    return np.sort(np.concatenate([np.delete(means, widest), low, high]))


def _borders(centroids: np.ndarray) -> np.ndarray:
    return (centroids[1:] + centroids[:-1]) / 2
