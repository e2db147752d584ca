"""Where the kept weights of a sparse tensor stand: as one bit a position, or as gaps, and both as ONNX operators.

Han, Mao, Dally 2016, "Deep Compression", arXiv:1510.00149, section 2, for the gaps: the distance from one kept
weight to the next in a byte, with a zero weight as filler where a gap is wider. Below one weight in eight they take
less room than bits, and they are faster to undo, since only the kept weights are touched.

Measured with onnxruntime 1.32 (`bench/formulas.py`): at 25088 x 4096 gaps load in 1.5 times the time of the plain
matrix, with a peak of 4.4 times its bytes (the plain one takes 2.0). Bits take five times the time and a peak of 9
times; row blocks don't help, as constants are folded operator by operator, so that all blocks are alive at once.
"""

import numpy as np
from onnx import TensorProto

from core.formulas.emitter import Emitter

WIDEST_GAP = 255
BITS_LIMIT = 2**24
"""Most elements written as bits: up to here loading takes a second or two and 600 MB."""


def gaps_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances between kept positions of the flattened mask, none wider than a byte.

    Returns:
        gaps: uint8; the running sum is the position of each entry.
        is_filler: bool of the same length; true for an entry that stands for a zero weight.
    """
    distances = np.diff(np.flatnonzero(mask), prepend=0)
    fillers = np.maximum(distances - 1, 0) // WIDEST_GAP  # 256 is one filler of 255 and a rest of 1
    ends = np.cumsum(fillers + 1) - 1
    gaps = np.full(int(ends[-1]) + 1 if ends.size else 0, WIDEST_GAP, np.uint8)
    gaps[ends] = distances - fillers * WIDEST_GAP
    is_filler = np.ones(gaps.size, bool)
    is_filler[ends] = False
    return gaps, is_filler


def prefers_gaps(mask: np.ndarray) -> bool:
    """Whether gaps, and where there are fillers a bit each to tell them, take less room than one bit a position."""
    if 8 * np.count_nonzero(mask) > mask.size:
        return False
    gaps, is_filler = gaps_of(mask)
    return gaps.size * (9 if is_filler.any() else 8) < mask.size


def emit_from_bits(out: Emitter, name: str, mask: np.ndarray, values: str, shape: tuple[int, ...]) -> str:
    """The dense tensor from the value name of a float vector of kept weights, and one bit a position."""
    out.require_opset(14)
    bits = out.initializer(f"{name}.mask", np.packbits(mask.ravel(), bitorder="little")[:, None])
    shifts = out.initializer(f"{name}.shifts", np.arange(8, dtype=np.uint8)[None])
    shifted = out.node("BitShift", [bits, shifts], name=f"{name}.shifted", direction="RIGHT")  # (bytes, 8)
    two = out.initializer(f"{name}.two", np.array(2, np.uint8))
    bit = out.node("Mod", [shifted, two], name=f"{name}.bit")  # BitwiseAnd does the same, from opset 18 only
    bit = out.node("Cast", [bit], name=f"{name}.kept", to=TensorProto.INT32)
    flat = out.node("Reshape", [bit, out.initializer(f"{name}.flat", np.array([-1]))], name=f"{name}.positions")
    if mask.size % 8:
        ends = [out.initializer(f"{name}.{end}", np.array([at])) for end, at in (("start", 0), ("end", mask.size))]
        flat = out.node("Slice", [flat, *ends], name=f"{name}.unpadded")
    axis = out.initializer(f"{name}.axis", np.array(0))
    number = out.node("CumSum", [flat, axis], name=f"{name}.numbers")  # 1 for the first kept weight
    place = out.node("Mul", [number, flat], name=f"{name}.places")  # 0 where nothing is kept
    zero = out.initializer(f"{name}.zero", np.zeros(1, np.float32))
    padded = out.node("Concat", [zero, values], name=f"{name}.padded", axis=0)
    dense = out.node("Gather", [padded, place], name=f"{name}.dense", axis=0)
    return out.node("Reshape", [dense, out.initializer(f"{name}.shape", np.array(shape))], name=name)


def emit_from_gaps(out: Emitter, name: str, gaps: np.ndarray, values: str, shape: tuple[int, ...]) -> str:
    """The dense tensor from the value name of a float vector, one a gap, fillers included."""
    out.require_opset(11)
    size = out.initializer(f"{name}.size", np.array([np.prod(shape, dtype=np.int64)]))
    zeros = out.node("ConstantOfShape", [size], name=f"{name}.zeros")
    steps = out.node("Cast", [out.initializer(f"{name}.gaps", gaps)], name=f"{name}.steps", to=TensorProto.INT32)
    axis = out.initializer(f"{name}.axis", np.array(0))
    places = out.node("CumSum", [steps, axis], name=f"{name}.places")
    dense = out.node("ScatterElements", [zeros, places, values], name=f"{name}.dense", axis=0)
    return out.node("Reshape", [dense, out.initializer(f"{name}.shape", np.array(shape))], name=name)
