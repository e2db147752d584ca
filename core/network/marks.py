"""Marks by which tensors are known again: no weight is kept a second time to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mark:
    """What a tensor was.

    Attributes:
        name: the initialiser that holds just these bytes; None where the tensor was computed or laid out anew.
    """

    dtype: torch.dtype
    shape: torch.Size
    digest: bytes
    name: str | None

    @classmethod
    def of(cls, tensor: Tensor, name: str | None = None) -> Mark:
        return cls(tensor.dtype, tensor.shape, _digest(tensor), name)

    def fits(self, tensor: Tensor) -> bool:
        """Same type, shape and bits, wherever they are."""
        return tensor.dtype == self.dtype and tensor.shape == self.shape and _digest(tensor) == self.digest


def _digest(tensor: Tensor) -> bytes:
    return sha256(tensor.detach().cpu().contiguous().numpy().data).digest()
