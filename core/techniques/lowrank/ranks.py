"""How many ranks to keep: by energy, by ratio, or by multiply-accumulates, in multiples a runtime likes."""

import torch
from torch import Tensor


def rank_by_energy(singular: Tensor, energy: float) -> int:
    """Least rank whose squared singular values sum to at least `energy` of the total.

    Args:
        singular: (full,) in falling order.

    Returns:
        1 to full; 1 where all are zero.
    """
    squared = singular.double() ** 2
    kept = torch.cumsum(squared, dim=0)
    return min(int((kept < energy * squared.sum()).sum()) + 1, len(singular))


def rank_by_cost(full: int, cost_of_one: float, budget: float) -> int:
    """Greatest rank whose cost fits the budget; at least 1."""
    return max(1, min(full, int(budget / cost_of_one)))


def rounded(rank: float, full: int, multiple: int, *, up: bool) -> int:
    """The next multiple above or below, at least one multiple; a full rank below the multiple stays as it is."""
    if full <= multiple:
        return max(1, min(full, round(rank)))
    places = -(-rank // multiple) if up else rank // multiple
    return int(min(max(1, places) * multiple, full))
