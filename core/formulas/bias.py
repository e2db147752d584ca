"""A bias in the integers of a layer's sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.formulas.affine import AffineInt8, round_through
from core.formulas.emitter import Emitter
from core.formulas.formula import Formula, Stored, as_array, shape_from

WIDEST = 2**30
"""Half the range of the sums: the other half is for the products that are added to the bias."""


class BiasInt32(Formula):
    """Thirty-two-bit integers in steps of input scale times weight scale, one a channel.

    Jacob et al. 2018, arXiv:1712.05877, section 2.4: the only step in which a bias can be added to sums of integer
    products. While it is linked, it follows the scales as they learn.
    """

    kind = "bias_int32"
    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        """
        Args:
            scale: (out,), in the bias's unit an integer step.
        """
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.values = nn.Parameter(torch.zeros_like(scale))
        self._factors: tuple[Tensor, AffineInt8] | None = None

    def link(self, input_scale: Tensor, weight: AffineInt8) -> None:
        """Follow these: the scale of the layer's input, and the formula of its weight."""
        self._factors = (input_scale, weight)

    def fit(self, weight: Tensor) -> None:
        self.values = nn.Parameter(weight.detach().clone())

    def forward(self) -> Tensor:
        scale = self._scale()
        return round_through((self.values / scale).clamp(-WIDEST, WIDEST)) * scale

    def stored(self) -> list[Stored]:
        return [Stored("integers", tuple(self.values.shape), 32)]

    def emit(self, out: Emitter, name: str) -> str:
        out.require_opset(13)
        with torch.no_grad():
            scale = self._scale()
            steps = (self.values / scale).round().clamp(-WIDEST, WIDEST)
        integers = out.initializer(f"{name}.integers", as_array(steps).astype(np.int32))
        inputs = [integers, out.initializer(f"{name}.scale", as_array(scale))]
        return out.node("DequantizeLinear", inputs, name=name, axis=0)

    def config(self) -> dict[str, Any]:
        return {"shape": list(self.values.shape)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BiasInt32:
        return cls(torch.ones(shape_from(config)))

    def _scale(self) -> Tensor:
        if self._factors is not None:
            input_scale, weight = self._factors
            self.scale = (input_scale * weight.scale).detach()
        return self.scale
