"""Memory of a network in the making: each tensor has its own, and where the source holds it is remembered."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where in an initialiser, read in its compute type, the elements of a tensor are."""

    name: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


class Owned:
    """Hands out tensors in memory that no other tensor of the network shares, without a copy where it can.

    A tensor that came in as a view of an initialiser, such as its transpose, has a `Place`.
    """

    def __init__(self) -> None:
        self._read: dict[int, str] = {}
        self._places: dict[int, tuple[Tensor, Place | None]] = {}  # the tensors keep the addresses from being used anew

    def note(self, tensor: Tensor, name: str) -> None:
        """`tensor` is the initialiser `name`."""
        self._read[_address(tensor)] = name

    def forget(self, tensor: Tensor) -> None:
        """The tensor may be freed; what was taken of it stays known."""
        self._read.pop(_address(tensor), None)

    def take(self, tensor: Tensor) -> Tensor:
        """`tensor` in contiguous memory of its own."""
        tensor = tensor.detach()
        if tensor.numel() == 0:
            return tensor.clone()
        address = _address(tensor)
        place = self._place(tensor, self._read.get(address))
        is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        if address in self._places or not is_whole or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._places[_address(tensor)] = tensor, place
        return tensor

    @staticmethod
    def _place(tensor: Tensor, name: str | None) -> Place | None:
        if name is None:
            return None
        return Place(name, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def place(self, tensor: Tensor) -> Place | None:
        """Where the source holds a tensor that was taken; None where it was computed, or is too small to matter."""
        return self._places.get(_address(tensor), (None, None))[1] if tensor.numel() else None


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
