"""A network to write."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Made = tuple[nn.Module, dict[str, Tensor]]


@dataclass(frozen=True)
class Subject:
    """How a network is made with its example inputs, and whether the batch is left open."""

    make: Callable[[], Made]
    is_dynamic: bool = True
