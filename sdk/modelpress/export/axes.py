"""Which axes of a module's inputs may have another size, and inputs of those sizes."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import islice, product
from typing import Any

from modelpress.export.calling import Call
from modelpress.problem import RequestInvalid

torch: Any = import_module("torch")

Axes = dict[str, dict[int, str]]
"""By input, the free axes and what they are called; axes of one name have one size."""

BATCH = "batch"
MOST_TRIALS = 64
"""Of ways to place a batch axis in each input."""


def asked_axes(call: Call, asked: Mapping[str, Mapping[int, str] | Sequence[int]]) -> Axes:
    """Axes as torch.onnx.export takes them; those of outputs follow from the inputs'.

    Raises:
        RequestInvalid: there is no such input or axis.
    """
    axes: Axes = {}
    ranks = dict(zip(call.input_names, (tensor.dim() for tensor in call.example), strict=True))
    for name, wanted in asked.items():
        if name in call.output_names:
            continue
        if name not in ranks:
            raise RequestInvalid(f"`dynamic_axes` names {name!r}; the inputs are {', '.join(ranks)}")
        labels = wanted if isinstance(wanted, Mapping) else {axis: f"{name}_{axis}" for axis in wanted}
        if outside := [axis for axis in labels if not -ranks[name] <= axis < ranks[name]]:
            raise RequestInvalid(f"`dynamic_axes`: {name!r} has {ranks[name]} axes, and no axis {outside[0]}")
        axes[name] = {axis % ranks[name]: label for axis, label in labels.items()}
    return axes


def batch_axes(call: Call) -> Axes:
    """The axes that grow with the batch: the first where that is possible, else one of the batch's size.

    Found by calling the module on a batch that is larger by one; none where no call succeeds.
    """
    sizes = [tuple(tensor.shape) for tensor in call.example]
    batch = next((shape[0] for shape in sizes if shape), None)
    if batch is None:
        return {}
    ways = [[*(axis for axis, size in enumerate(shape) if size == batch), None] for shape in sizes]
    first = next(place for place, shape in enumerate(sizes) if shape)
    ways[first] = [0]
    for way in islice(product(*ways), MOST_TRIALS):
        axes = {name: {axis: BATCH} for name, axis in zip(call.input_names, way, strict=True) if axis is not None}
        if runs(call, resized(call, axes, {BATCH: batch + 1})):
            return axes
    return {}


def sizes_of(call: Call, axes: Axes) -> dict[str, int]:
    """The example's size along each named axis."""
    shapes = dict(zip(call.input_names, (tensor.shape for tensor in call.example), strict=True))
    return {label: shapes[name][axis] for name, labels in axes.items() for axis, label in labels.items()}


def other_sizes(call: Call, axes: Axes) -> list[dict[str, int]]:
    """Sizes that the module takes other than the example's: all axes larger, and a batch of one.

    Raises:
        RequestInvalid: it takes no other size.
    """
    now = sizes_of(call, axes)
    if not now:
        return []
    ways = [{label: change(size) for label, size in now.items()} for change in CHANGES]
    other = next((way for way in ways if runs(call, resized(call, axes, way))), None)
    if other is None:
        tried = ", ".join(f"{label} {' or '.join(str(way[label]) for way in ways)}" for label in now)
        raise RequestInvalid(f"the module itself can't be called with other sizes; tried {tried}")
    single = {**now, BATCH: 1}
    alone = BATCH in now and now[BATCH] != 1 and runs(call, resized(call, axes, single))
    return [other, single] if alone else [other]


CHANGES = (lambda size: size + 1, lambda size: 2 * size, lambda size: max(size - 1, 1), lambda size: max(size // 2, 1))


def resized(call: Call, axes: Axes, sizes: Mapping[str, int]) -> tuple[Any, ...]:
    """The example with other sizes: samples repeated, or left out."""
    tensors = []
    for name, tensor in zip(call.input_names, call.example, strict=True):
        for axis, label in axes.get(name, {}).items():
            index = torch.arange(sizes[label], device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
        tensors.append(tensor)
    return tuple(tensors)


def runs(call: Call, tensors: Sequence[Any]) -> bool:
    try:
        call.run(tensors)
    except Exception:  # forward raises anything
        return False
    return True
