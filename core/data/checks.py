"""Do the data fit the model? Every answer names the file, the array and what was expected."""

import numpy as np

from core.data.columns import Column
from core.data.preparation import prepared_shape
from core.interface import Port
from modelpress.data import Preparation
from modelpress.problem import DataError, DataMismatch, ProblemError

CHUNK_BYTES = 2**24


def check_column(column: Column, port: Port, how: Preparation, place: str) -> None:
    """The prepared samples have the input's type and shape, and only finite values.

    Raises:
        DataMismatch: wrong type or shape. DataError: NaN or infinity, naming the sample.
    """
    check_type(column.dtype, port, how, place)
    try:
        shape = prepared_shape(column.sample_shape, how)
    except ProblemError as error:
        raise DataMismatch(f"{place}: {error.detail}", hint=error.hint) from error
    wanted = port.sample_shape
    fits = len(shape) == len(wanted) and all(
        expected == size for expected, size in zip(wanted, shape, strict=True) if isinstance(expected, int)
    )
    if not fits:
        told = ", ".join("?" if size is None else str(size) for size in wanted)
        raise DataMismatch(
            f"{place}: samples have shape {list(shape)} after preparation, and the input {port.name!r} takes [{told}]",
            hint="Set `preparation.layout` (`hwc_to_chw`, or `hw_to_chw` for grey images) or `resize`, or save "
            "the arrays in the model's shape.",
        )
    check_finite(column, place)


def check_type(raw: np.dtype, port: Port, how: Preparation, place: str) -> None:
    if raw.kind not in "biuf":
        raise DataMismatch(
            f"{place}: values of type {raw} are not numbers", hint="Save an array of integers or floats."
        )
    if how.dtype is not None and np.dtype(how.dtype) != port.dtype:
        raise DataMismatch(
            f"{place}: `preparation.dtype` is {how.dtype}, and the input {port.name!r} takes {port.dtype}"
        )
    becomes_float = raw.kind == "f" or how.scale is not None or how.mean or how.std
    if becomes_float and port.dtype.kind != "f" and how.dtype is None:
        raise DataMismatch(
            f"{place}: the values are {raw}, and the input {port.name!r} takes {port.dtype}",
            hint="Save integers, or set `preparation.dtype` to cast them.",
        )


def check_finite(column: Column, place: str) -> None:
    if column.dtype.kind != "f":
        return
    step = max(1, CHUNK_BYTES // max(1, column.dtype.itemsize * int(np.prod(column.sample_shape))))
    for start in range(0, len(column), step):
        rows = column.take(np.arange(start, min(start + step, len(column))))
        bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            raise DataError(f"{place}: sample {start + int(bad.argmax())} holds NaN or infinity")


def class_labels(labels: np.ndarray, classes: int | None, place: str) -> np.ndarray:
    """(n,) int64 classes, all of them in range.

    Raises:
        DataMismatch: not integers, not one a sample, or outside 0..classes-1, naming the first.
    """
    if labels.dtype.kind not in "iu":
        raise DataMismatch(
            f"{place}: labels are {labels.dtype}, and classes are integers from 0", hint="Save them as int64."
        )
    if labels.ndim != 1 and labels.shape != (len(labels), 1):
        raise DataMismatch(f"{place}: labels have shape {labels.shape}; classification takes one class a sample")
    flat = labels.reshape(len(labels)).astype(np.int64)
    top = classes if classes is not None else np.iinfo(np.int64).max
    wrong = (flat < 0) | (flat >= top)
    if wrong.any():
        first = int(wrong.argmax())
        raise DataMismatch(
            f"{place}: label {flat[first]} of sample {first} is outside 0..{top - 1} ({int(wrong.sum())} such labels)",
            hint="Number the classes from 0 in the order of the model's output.",
        )
    return flat


def number_labels(labels: np.ndarray, port: Port, place: str) -> np.ndarray:
    """(n, *output shape) float32 numbers.

    Raises:
        DataMismatch: not numbers, or another shape than the output's. DataError: NaN or infinity.
    """
    if labels.dtype.kind not in "biuf":
        raise DataMismatch(f"{place}: labels are {labels.dtype}, and regression takes numbers")
    wanted = port.sample_shape
    if labels.ndim == 1 and wanted in ((1,), ()):
        labels = labels.reshape(len(labels), *(1 for _ in wanted))
    fits = labels.ndim - 1 == len(wanted) and all(
        size == expected for size, expected in zip(labels.shape[1:], wanted, strict=True) if isinstance(expected, int)
    )
    if not fits:
        raise DataMismatch(f"{place}: labels have shape {list(labels.shape[1:])} a sample, and the output is {port}")
    if not np.isfinite(labels).all():
        raise DataError(f"{place}: labels hold NaN or infinity")
    return np.ascontiguousarray(labels, np.float32)
