"""A computed shape with some of its sizes changed: how a cut reaches a reshape whose target is computed."""

import numpy as np
import torch
from torch import Tensor, fx

from core.network.emission import Emission
from core.network.ops.shape import constant_of_shape
from core.network.registry import Call, emits


def with_sizes(shape: Tensor, *, sizes: list[int | None]) -> Tensor:
    """`shape` with the given sizes; those that are None stay."""
    kept = zip(shape.reshape(-1).tolist(), sizes, strict=True)
    return torch.tensor([old if new is None else new for old, new in kept], dtype=shape.dtype)


def place_of_shape(node: fx.Node) -> int:
    """Which argument of a node its computed shape is."""
    return 0 if node.target is constant_of_shape else 1


@emits(with_sizes)
def emit_with_sizes(out: Emission, call: Call) -> str:
    out.require_opset(9)
    sizes = call.kwargs["sizes"]
    given = out.initializer(f"{call.base}/given", np.array([size is not None for size in sizes]))
    values = out.ints(f"{call.base}/sizes", [0 if size is None else size for size in sizes])
    return out.node("Where", [given, values, *call.inputs], name=call.base)


def with_shares(shape: Tensor, *, kept: list[int], of: list[int]) -> Tensor:
    """`shape` with every size times `kept` / `of`, which comes out even."""
    return shape * torch.tensor(kept, dtype=shape.dtype) // torch.tensor(of, dtype=shape.dtype)


@emits(with_shares)
def emit_with_shares(out: Emission, call: Call) -> str:
    kept, of = (out.ints(f"{call.base}/{name}", call.kwargs[name]) for name in ("kept", "of"))
    times = out.node("Mul", [*call.inputs, kept], name=f"{call.base}/times")
    return out.node("Div", [times, of], name=call.base)
