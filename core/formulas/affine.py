"""A weight of eight-bit integers and a scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from core.formulas.emitter import Emitter
from core.formulas.formula import NODE_BYTES, Formula, Stored, as_array, from_config, shape_from, to_config


class AffineInt8(Formula):
    """Symmetric signed integers times a scale, one a channel or one for all.

    Jacob et al. 2018, arXiv:1712.05877, section 2.1, with the zero point fixed at 0, so that zeros stay zeros.
    Training keeps the weight itself and rounds it straight-through; the scale learns as in LSQ (Esser et al. 2020,
    arXiv:1902.08153). With a formula for the weight, what that one keeps (a mask, shared values) holds.
    """

    kind = "affine_int8"
    scale: Tensor

    def __init__(
        self, axis: int | None = 0, bits: int = 8, integer_kernels: bool = False, weight: Formula | None = None
    ) -> None:
        """
        Args:
            axis: of the channels, each with a scale; None for one scale.
            bits: width of the integers, 2 to 8; stored in eight.
            integer_kernels: written as DequantizeLinear, which runtimes take with quantised activations for integer
                kernels. Otherwise as Cast and Mul, which they fold into a plain weight when they load.
            weight: formula of what is rounded; None keeps it as it is.
        """
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"bits must be within 2 to 8, got {bits}")
        self.axis, self.bits, self.integer_kernels = axis, bits, integer_kernels
        self.weight = weight if weight is not None else nn.Parameter(torch.zeros(0))
        self.scale = nn.Parameter(torch.ones(1))

    @property
    def selectable(self) -> bool:  # type: ignore[override]  # a nested formula decides
        return self.weight.selectable if isinstance(self.weight, Formula) else True

    @property
    def widest(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def fit(self, weight: Tensor) -> None:
        if isinstance(self.weight, Formula):
            self.weight.fit(weight)
        else:
            self.weight = nn.Parameter(weight.detach().clone())
        self.scale = nn.Parameter(channel_scale(weight.detach(), self.axis, self.bits))

    def forward(self) -> Tensor:
        scale = self._broadcast(self.scale)
        steps = (self._latent() / scale).clamp(-self.widest, self.widest)
        return round_through(steps) * scale

    def integers(self) -> Tensor:
        """int8, in the weight's shape."""
        with torch.no_grad():
            steps = self._latent() / self._broadcast(self.scale)
            return steps.round().clamp(-self.widest, self.widest).to(torch.int8)

    def stored(self) -> list[Stored]:
        return [
            Stored("integers", tuple(self._latent().shape), 8),
            Stored("scale", tuple(self.scale.shape), 32),
        ]

    def emit(self, out: Emitter, name: str) -> str:
        integers, scale = as_array(self.integers()), as_array(self.scale)
        if self.integer_kernels:
            return self._emit_dequantize(out, name, integers, scale)
        if integers.size + 4 * scale.size + NODE_BYTES >= 4 * integers.size:
            return self.emit_dense(out, name)
        out.require_opset(7)
        stored = out.initializer(f"{name}.integers", integers)
        floats = out.node("Cast", [stored], name=f"{name}.floats", to=TensorProto.FLOAT)
        factors = out.initializer(f"{name}.scale", as_array(self._broadcast(self.scale)))
        return out.node("Mul", [floats, factors], name=name)

    def select(self, axis: int, keep: Tensor) -> None:
        if isinstance(self.weight, Formula):
            self.weight.select(axis, keep)
        else:
            self.weight = nn.Parameter(self.weight.detach().index_select(axis, keep.to(self.weight.device)))
        if axis == self.axis:
            self.scale = nn.Parameter(self.scale.detach()[keep.to(self.scale.device)])

    def config(self) -> dict[str, Any]:
        nested = to_config(self.weight) if isinstance(self.weight, Formula) else None
        return {
            "axis": self.axis,
            "bits": self.bits,
            "integer_kernels": self.integer_kernels,
            "shape": list(self._latent().shape),
            "weight": nested,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AffineInt8:
        shape, axis, nested = shape_from(config), config["axis"], config["weight"]
        if axis is not None and not 0 <= axis < len(shape):
            raise ValueError(f"axis {axis} is not one of a weight of shape {shape}")
        formula = cls(
            axis, int(config["bits"]), bool(config["integer_kernels"]), None if nested is None else from_config(nested)
        )
        if nested is None:
            formula.weight = nn.Parameter(torch.zeros(shape))
        formula.scale = nn.Parameter(torch.ones(1 if axis is None else shape[axis]))
        return formula

    def check(self) -> None:
        if isinstance(self.weight, Formula):
            self.weight.check()

    def _latent(self) -> Tensor:
        return self.weight() if isinstance(self.weight, Formula) else self.weight

    def _broadcast(self, scale: Tensor) -> Tensor:
        """(channels,) as (1, ..., channels, ..., 1), which multiplies the weight."""
        if self.axis is None:
            return scale
        shape = [1] * self._latent().dim()
        shape[self.axis] = -1
        return scale.reshape(shape)

    def _emit_dequantize(self, out: Emitter, name: str, integers: np.ndarray, scale: np.ndarray) -> str:
        out.require_opset(13)
        if self.axis is None:
            scale = scale.reshape(())
        inputs = [
            out.initializer(f"{name}.integers", integers),
            out.initializer(f"{name}.scale", scale),
            out.initializer(f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
        ]
        axis = 1 if self.axis is None else self.axis  # ignored, and 1 by default, where the scale is a single number
        return out.node("DequantizeLinear", inputs, name=name, axis=axis)


def channel_scale(weight: Tensor, axis: int | None, bits: int) -> Tensor:
    """Step that maps each channel onto symmetric signed integers of the given width.

    Returns:
        (channels,), or (1,) without an axis, in weight units an integer step. An all-zero channel gets 1, so that
        dividing by the result is always safe.
    """
    others = [d for d in range(weight.dim()) if d != axis]
    widest = weight.abs().amax(dim=others) if others else weight.abs()
    return torch.where(widest > 0, widest / (2 ** (bits - 1) - 1), 1.0).reshape(-1)


def round_through(steps: Tensor) -> Tensor:
    """Round half to even; the gradient passes as if nothing had been rounded."""
    return steps + (steps.round() - steps).detach()
