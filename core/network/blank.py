"""torch's layers without the random weights that they would start from."""

from functools import cache
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def blank(kind: type[M], *args: Any, **kwargs: Any) -> M:
    """A layer whose tensors are not initialised: drawing weights that are replaced at once takes most of its making."""
    module: Any = _without_start(kind)(*args, **kwargs)
    module.__class__ = kind
    return module


@cache
def _without_start(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
