"""Padding before a convolution, and cropping behind a transposed one, that take the sizes that come in to be known."""

import torch.nn.functional as F
from torch import Tensor

from core.network.emission import Emission
from core.network.ops.windows import halves, same_pads
from core.network.registry import Call, emits


def pad_same(x: Tensor, *, wide: list[int], strides: list[int], auto: str) -> Tensor:
    """Zeros around (n, c, *places), so that a window of `wide` places gives ceil(size / stride) of them."""
    before, after = same_pads(x.shape[2:], wide, strides, auto)
    pairs = zip(reversed(before), reversed(after), strict=True)
    return F.pad(x, [size for pair in pairs for size in pair])


def crop_to(y: Tensor, *, sizes: list[int], uncounted: list[int], auto: str) -> Tensor:
    """(n, c, *sizes) out of the middle of (n, c, *places); the last `uncounted` places do not count."""
    totals = [max(size - more - goal, 0) for size, more, goal in zip(y.shape[2:], uncounted, sizes, strict=True)]
    for axis, (start, size) in enumerate(zip(halves(totals, auto)[0], sizes, strict=True)):
        y = y.narrow(2 + axis, start, size)
    return y


@emits(pad_same)
def emit_pad_same(out: Emission, call: Call) -> str:
    """A convolution by itself would have auto_pad; in front of whatever follows it is spelt out."""
    out.require_opset(12)  # Max of integers
    (x,), base, literals = call.inputs, call.base, call.kwargs
    one, two, zero = (out.ints(f"{base}/{name}", [number]) for name, number in (("one", 1), ("two", 2), ("zero", 0)))
    stride = out.ints(f"{base}/strides", literals["strides"])
    sizes = _places(out, x, base)
    before_last = out.node("Sub", [sizes, one], name=f"{base}/before_last")
    steps = out.node("Div", [before_last, stride], name=f"{base}/steps")
    start = out.node("Mul", [steps, stride], name=f"{base}/start")
    end = out.node("Add", [start, out.ints(f"{base}/wide", literals["wide"])], name=f"{base}/end")
    total = out.node("Max", [out.node("Sub", [end, sizes], name=f"{base}/beyond"), zero], name=f"{base}/total")
    small = out.node("Div", [total, two], name=f"{base}/small")
    large = out.node("Sub", [total, small], name=f"{base}/large")
    first, last = (small, large) if literals["auto"] == "SAME_UPPER" else (large, small)
    none = out.ints(f"{base}/none", [0, 0])
    pads = out.node("Concat", [none, first, none, last], name=f"{base}/pads", axis=0)
    return out.node("Pad", [x, pads], name=base)


@emits(crop_to)
def emit_crop_to(out: Emission, call: Call) -> str:
    out.require_opset(12)  # Max of integers
    (y,), base, literals = call.inputs, call.base, call.kwargs
    goal = out.ints(f"{base}/sizes", literals["sizes"])
    odd = 0 if literals["auto"] == "SAME_UPPER" else 1
    less = [size + more - odd for size, more in zip(literals["sizes"], literals["uncounted"], strict=True)]
    total = out.node("Sub", [_places(out, y, base), out.ints(f"{base}/less", less)], name=f"{base}/total")
    zero, two = out.ints(f"{base}/zero", [0]), out.ints(f"{base}/two", [2])
    half = out.node("Div", [total, two], name=f"{base}/half")
    start = out.node("Max", [half, zero], name=f"{base}/start")
    end = out.node("Add", [start, goal], name=f"{base}/end")
    axes = out.ints(f"{base}/axes", list(range(2, 2 + len(literals["sizes"]))))
    return out.node("Slice", [y, start, end, axes], name=base)


def _places(out: Emission, x: str, base: str) -> str:
    """The sizes behind batch and channels."""
    shape = out.node("Shape", [x], name=f"{base}/shape")
    bounds = [out.ints(f"{base}/{name}", [number]) for name, number in (("from", 2), ("to", 2**63 - 1))]
    return out.node("Slice", [shape, *bounds], name=f"{base}/places")
