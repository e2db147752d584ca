"""Numbers between ONNX's tensors and torch's: storage types outside, fp32 and plain integers inside."""

from functools import cache

import numpy as np
import onnx
import torch
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


def to_torch(proto: TensorProto) -> Tensor:
    """A tensor of its own memory, in the compute type."""
    kind = numpy_type(compute_type(proto.data_type))
    if proto.data_type in PLAIN and proto.HasField("raw_data"):
        array = np.frombuffer(proto.raw_data, kind.newbyteorder("<")).reshape(proto.dims)
    else:
        array = numpy_helper.to_array(proto)
    return torch.from_numpy(np.array(array, dtype=kind, order="C", copy=True))


@cache
def numpy_type(kind: torch.dtype) -> np.dtype:
    return np.dtype(str(kind).removeprefix("torch."))


def storage_array(tensor: Tensor, onnx_type: int) -> np.ndarray:
    """`tensor` as the numpy array that is stored for it; narrow floats are rounded to nearest."""
    array = tensor.detach().cpu().contiguous().numpy()
    return np.ascontiguousarray(array.astype(onnx.helper.tensor_dtype_to_np_dtype(onnx_type))).reshape(array.shape)


def stored_tensor(name: str, tensor: Tensor, onnx_type: int) -> TensorProto:
    """`tensor` as a file stores it; `onnx_type` 0 stands for its own type."""
    return numpy_helper.from_array(storage_array(tensor, onnx_type or ONNX_TYPE[tensor.dtype]), name)
