"""The integers of an activation: a node on an edge of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.formulas.affine import round_through
from core.formulas.emitter import Emitter
from core.quantizers.observers import Observer, Range
from modelpress.problem import ModelError


class ActivationQuantizer(nn.Module):
    """Rounds to eight-bit integers and back where it is on; observes what comes while it has an observer.

    Unsigned with a zero point (Jacob et al. 2018, arXiv:1712.05877): a range that starts at zero, as after a ReLU,
    uses all 256 steps, and the runtime then leaves the ReLU to the rounding. Gradients pass straight through inside
    the range; the scale learns as in LSQ (Esser et al. 2020, arXiv:1902.08153). One quantiser on several edges ties
    them.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))
        self.observer: Observer | None = None
        self.is_on = True

    @property
    def least(self) -> int:
        return -128 if self.signed else 0

    @property
    def greatest(self) -> int:
        return self.least + 255

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            self.observer.observe(x)
        if not self.is_on:
            return x
        steps = (x / self.scale).clamp(self.least - self.zero_point, self.greatest - self.zero_point)
        return round_through(steps) * self.scale

    def set_range(self, span: Range) -> None:
        """Map a range, widened to hold zero, onto the integers: zero then is one of them, as padding needs."""
        low, high = min(span.low, 0.0), max(span.high, 0.0)
        scale = np.float32((high - low) / 255 if high > low else 1.0)
        scale = max(scale, np.finfo(np.float32).tiny)
        zero_point = self.least - round(low / float(scale))
        with torch.no_grad():
            self.scale.fill_(float(scale))
            self.zero_point.fill_(min(max(zero_point, self.least), self.greatest))

    def settle(self) -> bool:
        """Take the range that the observer chose, and round from now on. False where it saw nothing."""
        self.is_on = True
        span = self.observer.range() if self.observer is not None else None
        self.observer = None
        if span is not None:
            self.set_range(span)
        return span is not None

    def emit(self, out: Emitter, value: str, name: str) -> str:
        """Write QuantizeLinear and DequantizeLinear behind a value; returns the name of the rounded one."""
        out.require_opset(10)
        scale = out.initializer(f"{name}/scale", self.scale.detach().cpu().numpy())
        kind = np.int8 if self.signed else np.uint8
        zero_point = out.initializer(f"{name}/zero_point", self.zero_point.cpu().numpy().astype(kind))
        integers = out.node("QuantizeLinear", [value, scale, zero_point], name=f"{name}/integers")
        return out.node("DequantizeLinear", [integers, scale, zero_point], name=name)

    def config(self) -> dict[str, Any]:
        """JSON for `from_config`; the numbers are in the `state_dict`."""
        return {"kind": "activation", "signed": self.signed}

    def check(self) -> None:
        """Raise ModelError where loaded numbers are none that `set_range` could have set."""
        if not (torch.isfinite(self.scale) and self.scale > 0 and self.least <= self.zero_point <= self.greatest):
            scale, zero_point = self.scale.item(), self.zero_point.item()
            raise ModelError(f"a quantiser has scale {scale} and zero point {zero_point}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ActivationQuantizer:
        return cls(signed=bool(config["signed"]))


@contextmanager
def switched_off(graph: nn.Module) -> Iterator[None]:
    """While it lasts no quantiser rounds or observes, so that results can be compared to the last bits."""
    quantizers = [module for module in graph.modules() if isinstance(module, ActivationQuantizer)]
    before = [(quantizer.is_on, quantizer.observer) for quantizer in quantizers]
    for quantizer in quantizers:
        quantizer.is_on, quantizer.observer = False, None
    try:
        yield
    finally:
        for quantizer, (is_on, observer) in zip(quantizers, before, strict=True):
            quantizer.is_on, quantizer.observer = is_on, observer
