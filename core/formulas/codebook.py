"""A weight whose elements share a few values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor, nn

from core.formulas.emitter import Emitter
from core.formulas.formula import NODE_BYTES, Formula, Stored, as_array, shape_from
from core.formulas.kmeans import kmeans_1d
from modelpress.problem import ModelError


class Codebook(Formula):
    """An index an element into a table of values found by k-means.

    Han, Mao, Dally 2016, "Deep Compression", arXiv:1510.00149, section 3. The assignment is fixed once fitted; the
    values are trained, each with the sum of its members' gradients, which is what differentiating the look-up gives.
    """

    kind = "codebook"
    selectable = True
    index: Tensor

    def __init__(self, bits: int, iterations: int = 50) -> None:
        """
        Args:
            bits: width of an index, 1 to 8; at most 2**bits values.
            iterations: most rounds of k-means.
        """
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"bits must be within 1 to 8, got {bits}")
        self.bits, self.iterations = bits, iterations
        self.register_buffer("index", torch.zeros(0, dtype=torch.uint8))
        self.values = nn.Parameter(torch.zeros(1))

    def fit(self, weight: Tensor) -> None:
        values, index = kmeans_1d(as_array(weight).ravel(), 2**self.bits, self.iterations)
        self.index = torch.from_numpy(index).reshape(weight.shape).to(weight.device)
        self.values = nn.Parameter(torch.from_numpy(values).to(weight))

    def forward(self) -> Tensor:
        return self.values.index_select(0, self.index.flatten().int()).reshape(self.index.shape)

    def stored(self) -> list[Stored]:
        return [
            Stored("index", tuple(self.index.shape), index_bits(self.values.numel())),
            Stored("values", tuple(self.values.shape), 32),
        ]

    def emit(self, out: Emitter, name: str) -> str:
        index, few = as_array(self.index), self.values.numel() <= 16
        compact = index.size * (4 if few else 8) / 8 + 4 * self.values.numel()
        if compact + NODE_BYTES >= 4 * index.size:
            return self.emit_dense(out, name)
        out.require_opset(13)
        packed = out.packed_uint4 if few else out.initializer
        places = out.node("Cast", [packed(f"{name}.index", index)], name=f"{name}.places", to=TensorProto.INT32)
        values = out.initializer(f"{name}.codebook", as_array(self.values))
        return out.node("Gather", [values, places], name=name, axis=0)

    def select(self, axis: int, keep: Tensor) -> None:
        self.index = self.index.index_select(axis, keep.to(self.index.device))

    def config(self) -> dict[str, Any]:
        return {
            "bits": self.bits,
            "iterations": self.iterations,
            "shape": list(self.index.shape),
            "values": self.values.numel(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Codebook:
        formula = cls(int(config["bits"]), int(config["iterations"]))
        count = int(config["values"])
        if not 1 <= count <= 2**formula.bits:
            raise ValueError(f"{count} values don't fit {formula.bits} bits")
        formula.index = torch.zeros(shape_from(config), dtype=torch.uint8)
        formula.values = nn.Parameter(torch.zeros(count))
        return formula

    def check(self) -> None:
        if self.index.numel() and int(self.index.max()) >= self.values.numel():
            raise ModelError(f"a codebook of {self.values.numel()} values is asked for number {int(self.index.max())}")


def index_bits(count: int) -> int:
    """Bits that tell `count` values apart, at least one."""
    return max(1, (count - 1).bit_length())
