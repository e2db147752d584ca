"""A weight of which most elements are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.formulas.emitter import Emitter
from core.formulas.formula import NODE_BYTES, Formula, Stored, as_array, from_config, shape_from, to_config
from core.formulas.positions import BITS_LIMIT, emit_from_bits, emit_from_gaps, gaps_of, prefers_gaps
from modelpress.problem import ModelError


class Masked(Formula):
    """Weights where the mask is true, zero elsewhere.

    Training keeps the values dense and multiplies by the mask, as fast as a plain step. With a formula for the
    values, that formula computes the vector of kept weights in the order of their positions.
    """

    kind = "masked"
    mask: Tensor

    def __init__(self, mask: Tensor, values: Formula | None = None) -> None:
        """
        Args:
            mask: bool in the weight's shape, true where a weight is kept.
            values: formula of the kept weights as a vector; None stores them as they are.
        """
        super().__init__()
        self.register_buffer("mask", mask.bool())
        self.values = values if values is not None else nn.Parameter(torch.zeros(mask.shape, device=mask.device))

    @property
    def selectable(self) -> bool:  # type: ignore[override]  # a nested formula decides
        return self.values.selectable if isinstance(self.values, Formula) else True

    def fit(self, weight: Tensor) -> None:
        with torch.no_grad():
            self.mask = self.mask.to(weight.device)
            if isinstance(self.values, Formula):
                self.values.fit(weight[self.mask])
            else:
                self.values = nn.Parameter(weight.detach() * self.mask)

    def forward(self) -> Tensor:
        if isinstance(self.values, Formula):
            kept = self.values()
            return kept.new_zeros(self.mask.shape).masked_scatter(self.mask, kept)
        return self.values * self.mask

    def stored(self) -> list[Stored]:
        mask = as_array(self.mask)
        if prefers_gaps(mask):
            gaps, is_filler = gaps_of(mask)
            positions = [Stored("gaps", gaps.shape, 8)]
            positions += [Stored("fillers", gaps.shape, 1)] if is_filler.any() else []
        else:
            positions = [Stored("mask", mask.shape, 1)]
        if isinstance(self.values, Formula):
            return [Stored(f"values.{s.name}", s.shape, s.bits) for s in self.values.stored()] + positions
        return [Stored("values", (int(mask.sum()),), 32), *positions]

    def emit(self, out: Emitter, name: str) -> str:
        mask = as_array(self.mask)
        if not self._is_worth_it(mask):
            return self.emit_dense(out, name)
        if prefers_gaps(mask):
            gaps, is_filler = gaps_of(mask)
            values = self._emit_values(out, name)
            if is_filler.any():
                values = emit_from_bits(out, f"{name}.filled", ~is_filler, values, gaps.shape)
            return emit_from_gaps(out, name, gaps, values, mask.shape)
        if mask.size > BITS_LIMIT:
            out.note(f"{name} keeps {mask.mean():.0%} of {mask.size:,} weights: written dense, since undoing the mask "
                     "would take too long at each load")  # fmt: skip
            return self.emit_dense(out, name)
        return emit_from_bits(out, name, mask, self._emit_values(out, name), mask.shape)

    def select(self, axis: int, keep: Tensor) -> None:
        keep = keep.to(self.mask.device)
        mask = self.mask.index_select(axis, keep)
        if isinstance(self.values, Formula):
            numbers = torch.zeros(self.mask.shape, dtype=torch.long, device=self.mask.device)
            numbers[self.mask] = torch.arange(int(self.mask.sum()), device=self.mask.device)
            self.values.select(0, numbers.index_select(axis, keep)[mask])
        else:
            self.values = nn.Parameter(self.values.detach().index_select(axis, keep))
        self.mask = mask

    def config(self) -> dict[str, Any]:
        nested = to_config(self.values) if isinstance(self.values, Formula) else None
        return {"shape": list(self.mask.shape), "values": nested}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Masked:
        nested = config["values"]
        mask = torch.ones(shape_from(config), dtype=torch.bool)
        return cls(mask, None if nested is None else from_config(nested))

    def check(self) -> None:
        if isinstance(self.values, Formula):
            self.values.check()
            shape = tuple(self.values().shape)
            if shape != (int(self.mask.sum()),):
                raise ModelError(f"a mask keeps {int(self.mask.sum())} weights, but {shape} are stored")

    def _is_worth_it(self, mask: np.ndarray) -> bool:
        compact = sum(stored.total_bits for stored in self.stored()) / 8
        return compact + NODE_BYTES < 4 * mask.size

    def _emit_values(self, out: Emitter, name: str) -> str:
        if isinstance(self.values, Formula):
            return self.values.emit(out, f"{name}.values")
        return out.initializer(f"{name}.values", as_array(self.values)[as_array(self.mask)])
