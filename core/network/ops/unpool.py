"""MaxUnpool: what a max pool kept, back at the places where it stood.

The places are numbered over all elements of what was pooled, so they mean another channel in a tensor of other sizes.
"""

import math
from typing import Any

from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.registry import Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value


def max_unpool(x: Tensor, places: Tensor, *, window: dict[str, list[int]], shape: list[int] | None) -> Tensor:
    """Zeros but for `x` at the numbers `places`; of `shape`, or of what a pool of this window may have pooled."""
    if shape is None:
        axes = zip(x.shape[2:], *(window[name] for name in ("kernel", "strides", "before", "after")), strict=True)
        shape = [*x.shape[:2], *((size - 1) * step + wide - front - back for size, wide, step, front, back in axes)]
    check_allocation(shape, x.element_size())
    zeros = x.new_zeros(math.prod(shape))
    return zeros.scatter(0, places.reshape(-1).to(x.device), x.reshape(-1)).reshape(shape)


def max_unpool_to(x: Tensor, shape: Tensor, places: Tensor, *, window: dict[str, list[int]]) -> Tensor:
    """`max_unpool` to a shape that the shape plane computes."""
    return max_unpool(x, places, window=window, shape=shape.tolist())


@operator("MaxUnpool")
def build_max_unpool(builder: Builder, node: OnnxNode) -> Value:
    kernel = node.attribute("kernel_shape")
    if not kernel:
        raise Unsupported("MaxUnpool without kernel_shape")
    rank = len(kernel)
    pads = node.attribute("pads", [0] * 2 * rank)
    window = {"kernel": kernel, "strides": node.attribute("strides", [1] * rank)}
    window |= {"before": pads[:rank], "after": pads[rank:]}
    if node.given(2) and not node.is_constant(2):
        return builder.call(max_unpool_to, node.input(0), node.input(2), node.input(1), window=window)
    return builder.call(max_unpool, node.input(0), node.input(1), window=window, shape=node.ints(2))


@emits(max_unpool)
def emit_max_unpool(out: Emission, call: Call) -> str:
    shape = call.kwargs["shape"]
    sizes = [] if shape is None else [out.ints(f"{call.base}/shape", shape)]
    return _written(out, call, [*call.inputs, *sizes])


@emits(max_unpool_to)
def emit_max_unpool_to(out: Emission, call: Call) -> str:
    x, shape, places = call.inputs
    return _written(out, call, [x, places, shape])


def _written(out: Emission, call: Call, inputs: list[str]) -> str:
    out.require_opset(9)
    window: Any = call.kwargs["window"]
    pads = [*window["before"], *window["after"]]
    return out.node(
        "MaxUnpool", inputs, name=call.base, kernel_shape=window["kernel"], strides=window["strides"], pads=pads
    )
