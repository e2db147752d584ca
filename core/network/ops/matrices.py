"""EyeLike and Det."""

from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.tensors import compute_type
from core.network.values import Value


def eye_like(x: Tensor, *, k: int, to: torch.dtype | None, stored: int) -> Tensor:
    """Of the shape of a matrix, ones on its `k`-th diagonal and zeros elsewhere.

    Args:
        to: compute type, that of `x` if None; `stored` is the ONNX type that the source asked for, 0 for none.
    """
    eye = torch.zeros(x.shape, dtype=to or x.dtype, device=x.device)
    if -len(eye) < k < eye.shape[1]:
        eye.diagonal(k).fill_(1)
    return eye


def det(x: Tensor) -> Tensor:
    """Determinants of the matrices on the last two axes."""
    return torch.linalg.det(x)


@operator("EyeLike")
def build_eye_like(builder: Builder, node: OnnxNode) -> Value:
    stored = node.attribute("dtype", 0)
    to = compute_type(stored) if stored else None
    return builder.call(eye_like, node.input(0), k=node.attribute("k", 0), to=to, stored=stored)


@operator("Det")
def build_det(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(det, node.input(0))


@emits(eye_like)
def emit_eye_like(out: Emission, call: Call) -> str:
    out.require_opset(9)
    names = {"k": "k", "dtype": "stored"}
    attributes: dict[str, Any] = {theirs: call.kwargs[ours] for theirs, ours in names.items() if call.kwargs[ours]}
    return out.node("EyeLike", call.inputs, name=call.base, **attributes)


@emits(det)
def emit_det(out: Emission, call: Call) -> str:
    out.require_opset(11)
    return out.node("Det", call.inputs, name=call.base)
