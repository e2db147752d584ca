"""Unsigned integers wider than eight bits, for which torch has no arithmetic.

Those of 16 and 32 bits are held in wider signed ones, which go on where the unsigned ones start again at 0; those of
64 bits in signed ones of 64, whose upper half is negative. What would show the difference is left to onnxruntime.
"""

from collections.abc import Collection

from onnx import TensorProto

from core.network.unsupported import Unsupported

WRAPPING = {TensorProto.UINT16, TensorProto.UINT32}

MOVES = {
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Concat", "Split"),
    *("Slice", "Gather", "GatherElements", "GatherND", "Compress", "Where", "DepthToSpace", "SpaceToDepth", "Trilu"),
    *("ReverseSequence", "Pad", "Shape", "Size", "NonZero", "Equal", "Constant"),
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor"),
}
"""They look at no more than the bits."""

GROWING = {
    *("Add", "Sub", "Mul", "Sum", "Neg", "Pow", "MatMul", "Gemm", "Einsum", "CumSum", "CumProd", "Range", "Scatter"),
    *("ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ScatterElements"),
    *("ScatterND", "BitwiseNot"),
}
"""Their results may be beyond what goes in, on either side."""


def check_unsigned(op: str, kinds: Collection[int]) -> None:
    """Raise Unsupported where an operator on values of these element types would show how they are held."""
    if TensorProto.UINT64 in kinds and op not in MOVES:
        raise Unsupported(f"{op} of UINT64")
    if op in GROWING:
        check_wraps(op, kinds)


def check_wraps(op: str, kinds: Collection[int]) -> None:
    """Raise Unsupported where what grows beyond one of these element types would have to start again at 0."""
    if found := sorted(WRAPPING.intersection(kinds)):
        raise Unsupported(f"{op} of {', '.join(map(TensorProto.DataType.Name, found))}")
