"""A computed shape with some of its sizes overwritten: how a cut reaches a reshape whose target is computed."""

import numpy as np
import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.registry import Call, emits


def with_sizes(shape: Tensor, *, sizes: list[int | None]) -> Tensor:
    """`shape` with the given sizes; those that are None stay."""
    kept = zip(shape.reshape(-1).tolist(), sizes, strict=True)
    return torch.tensor([old if new is None else new for old, new in kept], dtype=shape.dtype)


@emits(with_sizes)
def emit_with_sizes(out: Emission, call: Call) -> str:
    out.require_opset(9)
    sizes = call.kwargs["sizes"]
    given = out.initializer(f"{call.base}/given", np.array([size is not None for size in sizes]))
    values = out.ints(f"{call.base}/sizes", [0 if size is None else size for size in sizes])
    return out.node("Where", [given, values, *call.inputs], name=call.base)
