"""NonMaxSuppression: of boxes that overlap the one of the highest score."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import optional_inputs, stripped
from core.network.registry import Call, emits, operator
from core.network.values import Value

BLOCK = 128
"""Boxes that are compared with one another at once."""


def non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    most: Tensor | None = None,
    overlap: Tensor | None = None,
    least: Tensor | None = None,
    *,
    centered: int,
) -> Tensor:
    """Greedy: the box of the highest score, the first of equal ones, stays, and what overlaps it more goes.

    Computed on the CPU: every choice depends on those before it.

    Args:
        boxes: (batch, N, 4) of two opposite corners y, x, y, x; if `centered` of x and y in the middle, width, height.
        scores: (batch, classes, N).
        most: boxes that stay of each class; none if left out.
        overlap: area of the intersection over that of the union, above which a box goes; 0 if left out.
        least: what a score must be above.

    Returns:
        (found, 3) of sample, class and box, by sample, class and falling score.
    """
    rows = scores.detach().cpu().flatten(0, 1)  # (batch * classes, N)
    count = 0 if most is None else int(most)
    is_open = torch.ones_like(rows, dtype=torch.bool) if least is None else rows > least.cpu().reshape(())
    longest = int(is_open.sum(dim=1).max()) if rows.numel() else 0
    order = torch.where(is_open, rows, float("-inf")).sort(dim=1, descending=True, stable=True).indices[:, :longest]
    sides = _sides(boxes.detach().cpu(), centered).repeat_interleave(scores.shape[1], dim=0)  # (rows, N, 4)
    sides = sides.gather(1, order[:, :, None].expand(-1, -1, 4))
    kept = _greedy(sides, is_open.gather(1, order), 0.0 if overlap is None else float(overlap), count)
    row, place = kept.nonzero().unbind(1)
    classes = max(scores.shape[1], 1)
    return torch.stack([row // classes, row % classes, order[row, place]], dim=1).to(boxes.device)


def _sides(boxes: Tensor, centered: int) -> Tensor:
    """(..., 4) of left, upper, right and lower side."""
    if centered:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        return torch.cat([middle - half, middle + half], dim=-1)
    one, other = boxes[..., [1, 0]], boxes[..., [3, 2]]
    return torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=-1)


def _greedy(sides: Tensor, is_open: Tensor, overlap: float, count: int) -> Tensor:
    """(rows, N) which boxes stay of (rows, N, 4) in falling order, of which the first are candidates.

    By blocks: what overlaps a box of an earlier block goes at once, within a block it is one box after another.
    """
    kept = torch.zeros_like(is_open)
    earlier, is_there = sides[:, :0], is_open[:, :0]
    for start in range(0, is_open.shape[1], BLOCK):
        here = slice(start, start + BLOCK)
        rows = (is_open[:, start] & (kept.sum(dim=1) < count)).nonzero().reshape(-1)
        boxes, is_kept = sides[rows, here], is_open[rows, here]
        is_gone = _overlaps(earlier[rows, :, None], boxes[:, None], overlap) & is_there[rows, :, None]
        is_kept &= ~is_gone.any(dim=1)
        _one_after_another(is_kept.numpy(), _overlaps(boxes[:, :, None], boxes[:, None], overlap).numpy())
        kept[rows, here] = is_kept
        first = kept[:, here].int().argsort(dim=1, descending=True, stable=True)
        first = first[:, : int(kept[:, here].sum(dim=1).max())]
        earlier = torch.cat([earlier, sides[:, here].gather(1, first[:, :, None].expand(-1, -1, 4))], dim=1)
        is_there = torch.cat([is_there, kept[:, here].gather(1, first)], dim=1)
    return kept & (kept.cumsum(dim=1) <= count)


def _one_after_another(is_kept: np.ndarray, clashes: np.ndarray) -> None:
    """Within (rows, N) candidates let each that stays drop those behind it that it overlaps: (rows, N, N)."""
    for place in range(is_kept.shape[1]):
        is_kept[:, place + 1 :] &= ~(clashes[:, place, place + 1 :] & is_kept[:, place, None])


def _overlaps(some: Tensor, others: Tensor, most: float) -> Tensor:
    """Whether (..., 4) boxes share more than `most` of their union; what is no box does not."""
    shared = torch.minimum(some[..., 2:], others[..., 2:]) - torch.maximum(some[..., :2], others[..., :2])
    intersection = shared[..., 0] * shared[..., 1]
    areas = [(sides[..., 2:] - sides[..., :2]).prod(dim=-1) for sides in (some, others)]
    union = areas[0] + areas[1] - intersection
    is_box = (shared > 0).all(dim=-1) & (intersection > 0) & (areas[0] > 0) & (areas[1] > 0) & (union > 0)
    return is_box & (intersection / union > most)


@operator("NonMaxSuppression")
def build_non_max_suppression(builder: Builder, node: OnnxNode) -> Value:
    inputs = optional_inputs(node, 5)
    return builder.call(non_max_suppression, *inputs, centered=node.attribute("center_point_box", 0))


@emits(non_max_suppression)
def emit_non_max_suppression(out: Emission, call: Call) -> str:
    out.require_opset(10)
    attributes: dict[str, Any] = {"center_point_box": 1} if call.kwargs["centered"] else {}
    return out.node("NonMaxSuppression", stripped(call.inputs), name=call.base, **attributes)
