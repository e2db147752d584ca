"""Images read at computed places, each a weighted sum of the elements around it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.limits import check_allocation


def rows_of(x: Tensor) -> Tensor:
    """(N, C, *places) as a table of (N * places, C): what a place holds, side by side."""
    return x.flatten(2).transpose(1, 2).reshape(-1, x.shape[1])


def weighted_sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(*bags, count) numbers of rows and their weights: for each bag the sum over its rows, (*bags, width)."""
    check_allocation(rows.shape, rows.element_size())
    if not rows.shape[-1]:
        rows, weights = rows.new_zeros([*rows.shape[:-1], 1]), weights.new_zeros([*rows.shape[:-1], 1])
    bags = rows.reshape(-1, rows.shape[-1])
    sums = F.embedding_bag(bags, table, per_sample_weights=weights.reshape(bags.shape), mode="sum")
    return sums.reshape(*rows.shape[:-1], table.shape[1])


def neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The elements before and behind each place on an axis, (*at, 2), and how far each counts.

    Elements from 0 to `size` - 1 are there; what lies beyond counts nothing, and what is at no number counts NaN.
    """
    before = at.detach().floor()
    share = at - before
    places = torch.stack([before, before + 1], dim=-1).nan_to_num(0.0)
    weights = torch.stack([1 - share, share], dim=-1)
    is_there = (places >= 0) & (places < size)
    return places.clamp(0, max(size - 1, 0)).long(), torch.where(is_there, weights, 0.0)
