"""What a name of the source stands for while the normal form is built."""

from dataclasses import dataclass

from torch import Tensor, fx


@dataclass(frozen=True)
class Constant:
    """A value that depends on no input: an initialiser, or computed from some.

    Attributes:
        tensor: in its compute type.
        name: its name in the source.
    """

    tensor: Tensor
    name: str


Value = fx.Node | Constant
