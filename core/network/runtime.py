"""Values in and out of onnxruntime, of every element type that it computes with.

Its Python interface takes and gives numpy arrays of the types that numpy itself has; narrower ones (bfloat16, float8,
four bits and fewer) go through memory, in the layout that a TensorProto stores.
"""

import ctypes
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from core.network.tensors import compute_type, numpy_type
from core.network.unsupported import Unsupported

Held = Tensor | np.ndarray | list[Any] | None
"""What stands for an ONNX value inside: a tensor where torch can hold it, else what onnxruntime gives: an array of
strings, a list for a sequence, None for an optional that is empty."""


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A CPU session on one thread; raises what onnxruntime raises."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> list[Any]:
    """All outputs: arrays in their storage types, lists, None."""
    if not any(_is_foreign_type(value.type) for value in session.get_outputs()):
        return list(session.run(None, {name: _fed(value) for name, value in feeds.items()}))
    given = {name: _as_ort_value(value) for name, value in feeds.items()}
    return [_fetched(value) for value in session.run_with_ort_values(None, given)]


def inside(value: Any) -> Held:
    """A value as onnxruntime gives it, as the network holds it: a tensor of its own memory in the compute type."""
    if not isinstance(value, np.ndarray):
        return [np.asarray(one) for one in value] if isinstance(value, list) else value
    try:
        kind = compute_type(helper.np_dtype_to_tensor_dtype(value.dtype))
    except Unsupported:
        return value
    return torch.from_numpy(np.array(value, dtype=numpy_type(kind), copy=True))


def _is_foreign_type(kind: str) -> bool:
    """Whether numpy itself lacks the element type of a tensor type as onnxruntime spells it."""
    return re.match(r"tensor\((bfloat16|float[468]e|u?int[24]\))", kind, re.IGNORECASE) is not None


def _is_foreign(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.isbuiltin == 2  # registered by another package


def _fed(value: Any) -> Any:
    return _as_ort_value(value) if _is_foreign(value) else value


def _as_ort_value(array: np.ndarray) -> onnxruntime.OrtValue:
    if not _is_foreign(array):
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    proto = numpy_helper.from_array(array)
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(array.shape), proto.data_type)
    ctypes.memmove(value.data_ptr(), proto.raw_data, len(proto.raw_data))
    return value


def _fetched(value: onnxruntime.OrtValue) -> np.ndarray:
    if not _is_foreign_type(value.data_type()):
        return value.numpy()
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return numpy_helper.to_array(TensorProto(data_type=value.element_type(), dims=value.shape(), raw_data=data))
