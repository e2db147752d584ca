"""What a stored tensor says it is against what it holds."""

import math

from onnx import TensorProto

from core.network.limits import MAX_RANK
from modelpress.problem import ModelError, ModelTooLarge, ModelTruncated

BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.FLOAT8E8M0: 8,
    TensorProto.UINT2: 2,
    TensorProto.INT2: 2,
}


LARGEST = 2**40
"""Elements that an empty tensor may have along its other axes."""


def elements(tensor: TensorProto) -> int:
    """How many elements the shape of `tensor` declares.

    Raises:
        ModelError: negative sizes or an absurd rank.
    """
    dims = list(tensor.dims)
    is_absurd = 0 in dims and math.prod(size for size in dims if size) > LARGEST
    if len(dims) > MAX_RANK or (dims and min(dims) < 0) or is_absurd:
        raise ModelError(f"tensor {tensor.name} has the impossible shape {dims[:20]}")
    return math.prod(dims)


def declared_bytes(tensor: TensorProto) -> int:
    """Bytes that the shape and type of `tensor` ask for, packed as raw data.

    Raises:
        ModelError: an element type without a size.
    """
    if tensor.data_type not in BITS:
        raise ModelError(f"tensor {tensor.name} has the unknown element type {tensor.data_type}")
    return (elements(tensor) * BITS[tensor.data_type] + 7) // 8


def check_held(tensor: TensorProto) -> None:
    """Compare the declared size of a tensor without external data with what the file holds of it.

    Raises:
        ModelTruncated: it holds less. ModelTooLarge: it declares far more than a file can hold. ModelError: more.
    """
    if tensor.HasField("segment"):
        raise ModelError(f"tensor {tensor.name} is a segment of another", hint="Save the model with whole tensors.")
    if tensor.data_type == TensorProto.STRING:
        _compare(tensor, elements(tensor), len(tensor.string_data))
        return
    declared = declared_bytes(tensor)
    if tensor.HasField("raw_data"):
        _compare(tensor, declared, len(tensor.raw_data))
    elif tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        held = len(tensor.float_data) + len(tensor.double_data)
        _compare(tensor, 2 * elements(tensor), held)
    elif BITS[tensor.data_type] < 8:
        _compare(tensor, declared, len(tensor.int32_data))
    else:
        held = (tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data, tensor.uint64_data)
        _compare(tensor, elements(tensor), sum(len(field) for field in held))


def _compare(tensor: TensorProto, declared: int, held: int) -> None:
    if declared == held:
        return
    text = f"tensor {tensor.name} declares shape {list(tensor.dims)} ({declared:,}) and holds {held:,}"
    if declared > 1000 * max(held, 1) and declared > 2**31:
        raise ModelTooLarge(text, hint="The file is damaged, or was made to exhaust memory.")
    if declared > held:
        raise ModelTruncated(text, hint="The file is damaged; save or upload it again.")
    raise ModelError(text)
