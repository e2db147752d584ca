"""Values in and out of onnxruntime, of every element type that it computes with.

Its Python interface takes and gives numpy arrays of the types that numpy itself has; narrower ones (bfloat16, float8,
four bits and fewer) go through memory, in the layout that a TensorProto stores.
"""

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from core.network import limits
from core.network.tensors import COMPUTE, FLOATS, ONNX_TYPE, compute_type, numpy_type, storage_array
from core.network.unsupported import Unsupported
from modelpress.problem import OutOfTime

Held = Tensor | np.ndarray | list[Any] | None
"""What stands for an ONNX value inside: a tensor where torch can hold it, else what onnxruntime gives: an array of
strings, a list for a sequence, None for an optional that is empty."""


TYPE = re.compile(r"(?P<kind>tensor|seq|optional|sparse_tensor)\((?P<inner>.*)\)")
"""A type as onnxruntime spells it; of a map nothing is said."""


def open_session(model: ModelProto, *, is_optimised: bool = True) -> onnxruntime.InferenceSession:
    """A CPU session on one thread; raises what onnxruntime raises."""
    options = onnxruntime.SessionOptions()
    if not is_optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def patience() -> Iterator[onnxruntime.RunOptions]:
    """Options of a run that onnxruntime gives up, with an error of its own, once it takes longer than it may."""
    options = onnxruntime.RunOptions()
    timer = Timer(limits.MAX_RUN_SECONDS, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def run_session(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> list[Any]:
    """All outputs: arrays in their storage types, lists, None.

    Raises:
        OutOfTime: and what onnxruntime raises.
    """
    with patience() as options:
        try:
            return _run_session(session, feeds, options)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            if options.terminate:
                raise OutOfTime(f"onnxruntime was still running after {limits.MAX_RUN_SECONDS} s") from error
            raise


def _run_session(
    session: onnxruntime.InferenceSession, feeds: Mapping[str, Any], options: onnxruntime.RunOptions
) -> list[Any]:
    if not any(_is_foreign_type(value.type) for value in session.get_outputs()):
        return list(session.run(None, {name: _fed(value) for name, value in feeds.items()}, options))
    given = {name: _as_ort_value(value) for name, value in feeds.items()}
    return [_fetched(value) for value in session.run_with_ort_values(None, given, options)]


def inside(value: Any) -> Held:
    """A value as onnxruntime gives it, as the network holds it: a tensor of its own memory in the compute type."""
    if not isinstance(value, np.ndarray):
        return [np.asarray(one) for one in value] if isinstance(value, list) else value
    try:
        kind = compute_type(helper.np_dtype_to_tensor_dtype(value.dtype))
    except Unsupported:
        return value
    return torch.from_numpy(np.array(value, dtype=numpy_type(kind), copy=True))


def outside(value: Held, kind: TypeProto | None) -> Any:
    """A value as onnxruntime takes it: a tensor in its storage type, the rest as it is."""
    if not isinstance(value, Tensor):
        return value
    element = kind.tensor_type.elem_type if kind is not None else 0
    return storage_array(value, element or ONNX_TYPE[value.dtype])


def is_held(kind: TypeProto | None) -> bool:
    """Whether torch can hold the values of a type; an unknown one is taken to be a tensor."""
    if kind is None or kind.WhichOneof("value") is None:
        return True
    element = kind.tensor_type.elem_type
    return kind.HasField("tensor_type") and (element in FLOATS or element in COMPUTE or not element)


def described(kind: TypeProto | None) -> str:
    """How a type is called in messages."""
    if kind is None or kind.HasField("tensor_type"):
        return f"{TensorProto.DataType.Name(kind.tensor_type.elem_type if kind else 0)} tensor"
    return str(kind.WhichOneof("value")).removesuffix("_type").replace("_", " ")


def value_types(model: ModelProto, names: Sequence[str]) -> dict[str, TypeProto]:
    """Types of values inside a model as onnxruntime infers them; those that it can't are left out."""
    probe = ModelProto()
    probe.CopyFrom(model)
    given = {value.name for value in probe.graph.output}
    probe.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in given)
    try:
        session = open_session(probe, is_optimised=False)
    except Exception:  # onnxruntime's exceptions have no common base but Exception
        return {}
    found = {value.name: _parsed(value.type, value.shape) for value in session.get_outputs()}
    return {name: kind for name in names if (kind := found[name]) is not None}


def _parsed(text: str, sizes: Sequence[int | str | None]) -> TypeProto | None:
    """A type from `seq(tensor(float))` and the like; an empty `sizes` may also mean that they are unknown."""
    match = TYPE.fullmatch(text)
    if match is None:
        return None
    if match["kind"] in ("tensor", "sparse_tensor"):
        return helper.make_tensor_type_proto(TensorProto.DataType.Value(match["inner"].upper()), list(sizes) or None)
    inner = _parsed(match["inner"], ())
    if inner is None:
        return None
    make = helper.make_sequence_type_proto if match["kind"] == "seq" else helper.make_optional_type_proto
    return make(inner)


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
