"""A data set as it lies on disk: raw columns and labels, before anything is prepared."""

from dataclasses import dataclass, field

import numpy as np

from core.data.columns import Column, JoinedColumn
from modelpress.problem import DataEmpty, DataMismatch


@dataclass
class RawSet:
    """Columns of equal length by input name, and the labels where there are any.

    The name "" stands for the one input that images feed.
    """

    columns: dict[str, Column]
    labels: np.ndarray | None = None
    classes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def check_lengths(raw: RawSet, place: str) -> None:
    """Every column and the labels have the same, positive number of samples.

    Raises:
        DataEmpty, DataMismatch
    """
    lengths = {name or "images": len(column) for name, column in raw.columns.items()}
    if raw.labels is not None:
        lengths["labels"] = len(raw.labels)
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        raise DataMismatch(f"{place}: the arrays have different numbers of samples: {told}")
    if not len(raw):
        raise DataEmpty(f"{place} holds no samples", hint="Give at least one sample; a few hundred to measure on.")


def join(parts: list[RawSet], place: str) -> RawSet:
    """Several files end to end.

    Raises:
        DataMismatch: they hold different arrays, types or shapes, or only some have labels.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for number, part in enumerate(parts[1:], start=2):
        kinds = [{n: (c.dtype, c.sample_shape) for n, c in each.columns.items()} for each in (first, part)]
        if kinds[0] != kinds[1] or (first.labels is None) != (part.labels is None):
            raise DataMismatch(f"{place}: file {number} holds other arrays, types or shapes than the first one")
    columns: dict[str, Column] = {name: JoinedColumn([part.columns[name] for part in parts]) for name in first.columns}
    labels = (
        np.concatenate([part.labels for part in parts if part.labels is not None]) if first.labels is not None else None
    )
    return RawSet(columns, labels, first.classes, [note for part in parts for note in part.notes])
