"""Numbers between ONNX's tensors and torch's: storage types outside, fp32 and plain integers inside."""

import sys
import warnings
from functools import cache

import numpy as np
import onnx
import torch
from google.protobuf.internal import api_implementation
from onnx import TensorProto, numpy_helper
from torch import Tensor

from core.network.unsupported import Unsupported

FLOATS = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
    TensorProto.FLOAT8E8M0,
    TensorProto.FLOAT4E2M1,
}

COMPUTE: dict[int, torch.dtype] = {
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT16: torch.int32,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.INT4: torch.int8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.INT2: torch.int8,
    TensorProto.UINT2: torch.uint8,
}

PLAIN = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64}
"""Types that are stored as they are computed with."""

HANDS_OUT_COPIES = api_implementation.Type() != "python" and sys.byteorder == "little"
"""Whether the bytes of a protobuf's field are made anew for each reader."""

LARGE = 2**16  # bytes, from which on a copy costs more than what is done to avoid it

ONNX_TYPE = {
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.float64: TensorProto.DOUBLE,
    torch.bool: TensorProto.BOOL,
    torch.uint8: TensorProto.UINT8,
    torch.int8: TensorProto.INT8,
    torch.int16: TensorProto.INT16,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
}


def compute_type(onnx_type: int) -> torch.dtype:
    """The torch type that values of an ONNX element type have inside: every float is fp32.

    Raises:
        Unsupported: strings, complex numbers and the like.
    """
    if onnx_type in FLOATS:
        return torch.float32
    if onnx_type in COMPUTE:
        return COMPUTE[onnx_type]
    raise Unsupported(f"element type {onnx.TensorProto.DataType.Name(onnx_type)}")


def is_stored_alike(proto: TensorProto) -> bool:
    """Whether the file has the very bytes that the tensor has in its compute type."""
    return proto.data_type in PLAIN and proto.HasField("raw_data")


def to_torch(proto: TensorProto) -> Tensor:
    """A tensor of its own memory, in the compute type."""
    kind = numpy_type(compute_type(proto.data_type))
    if not is_stored_alike(proto):
        return torch.from_numpy(np.array(numpy_helper.to_array(proto), dtype=kind, order="C", copy=True))
    raw = proto.raw_data
    array = np.frombuffer(raw, kind.newbyteorder("<")).reshape(proto.dims)
    if len(raw) < LARGE or not HANDS_OUT_COPIES:
        return torch.from_numpy(np.array(array, dtype=kind))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of memory that should not be written to: nobody else has these bytes
        return torch.from_numpy(array)


@cache
def numpy_type(kind: torch.dtype) -> np.dtype:
    return np.dtype(str(kind).removeprefix("torch."))


def storage_array(tensor: Tensor, onnx_type: int) -> np.ndarray:
    """`tensor` as the numpy array that is stored for it; narrow floats are rounded to nearest.

    It shares the tensor's memory where the tensor is stored as it is.
    """
    array = tensor.detach().cpu().contiguous().numpy()
    return array.astype(onnx.helper.tensor_dtype_to_np_dtype(onnx_type), copy=False)


def raw_bytes(tensor: Tensor, onnx_type: int) -> memoryview:
    """What stands in a file for a tensor of a type of whole bytes."""
    array = np.ascontiguousarray(storage_array(tensor, onnx_type))
    return array.reshape(-1).view(np.uint8).data


def stored_tensor(name: str, tensor: Tensor, onnx_type: int) -> TensorProto:
    """`tensor` as a file stores it; `onnx_type` 0 stands for its own type."""
    return numpy_helper.from_array(storage_array(tensor, onnx_type or ONNX_TYPE[tensor.dtype]), name)
