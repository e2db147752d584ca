"""Bounds on what a model may make us allocate, checked before anything is allocated."""

import math
from collections.abc import Iterable

from modelpress.problem import ModelTooLarge

MAX_FILE_BYTES = 2**31 - 1  # a protobuf can't be larger; bigger models keep their weights in external data
MAX_EXTERNAL_BYTES = 32 * 2**30
MAX_NODES = 100_000
MAX_TENSORS = 25_000  # onnxruntime takes 8 s to load as many, and four times that for twice as many
MAX_OPERANDS = 4_096  # inputs or outputs of one node, of which onnxruntime's time is quadratic as well
MAX_CALLS = 100  # of functions within functions, as in onnx
MAX_DEPTH = 8  # of graphs within graphs
MAX_RANK = 16
MAX_NAME = 2_000
MAX_TENSOR_BYTES = 4 * 2**30  # of one value that operators make out of nothing: ConstantOfShape, Expand, Tile
MAX_CHANNELS = 4_000_000  # in all values: their analysis takes ten seconds a million
MAX_RUN_SECONDS = 120  # of one operator, or of a model on one made-up sample: a loop may be without end
MAX_FOLDED_BYTES = 8 * 2**30  # of all constants that are computed from others


def check_allocation(sizes: Iterable[int], itemsize: int = 4) -> None:
    """Refuse a tensor that an operator would conjure up and that no honest model needs.

    Raises:
        ModelTooLarge: naming the shape.
    """
    shape = list(sizes)
    total = math.prod(shape) * itemsize
    if total > MAX_TENSOR_BYTES:
        raise ModelTooLarge(
            f"a tensor of shape {shape} would take {total:,} bytes; at most {MAX_TENSOR_BYTES:,} are allowed",
            hint="Check the model's ConstantOfShape, Expand, Tile and Range nodes.",
        )
