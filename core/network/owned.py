"""Memory of a network in the making: each tensor has its own, and which initialiser it is remembered."""

import torch
from torch import Tensor


class Owned:
    """Hands out tensors in memory that no other tensor of the network shares, without a copy where it can."""

    def __init__(self) -> None:
        self._read: dict[int, str] = {}
        self._taken: dict[int, tuple[Tensor, str | None]] = {}  # the tensors keep the addresses from being used anew

    def note(self, tensor: Tensor, name: str) -> None:
        """`tensor` has the bytes of the initialiser `name`."""
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
        is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        is_as_read = is_whole and tensor.is_contiguous()
        name = self._read.get(address) if is_as_read else None
        if address in self._taken or not is_as_read:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        self._taken[_address(tensor)] = tensor, name
        return tensor

    def name(self, tensor: Tensor) -> str | None:
        """The initialiser that has the bytes of a tensor that was taken; None where it was computed or moved about."""
        return self._taken.get(_address(tensor), (None, None))[1] if tensor.numel() else None


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
