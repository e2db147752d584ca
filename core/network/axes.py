"""Where inputs and outputs have their samples: what the declared shapes suggest, likeliest first.

Images have them on the first axis, recurrent states and time-major sequences elsewhere, tables and scalars nowhere.
What is suggested here is proved, or refused, by `batching`.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice, product

from torch import Tensor

from modelpress.problem import StepError

NEW = -1
"""The file holds one sample, without an axis for it."""

Sizes = Sequence[int | str | None]

Axes = tuple[int | None, ...]
"""By input or output: the samples' axis, NEW, or None where one value serves all samples."""

MOST = 24
"""Of combinations that are suggested."""

LIKE_BATCH = re.compile(r"(n|b|bs|bsz|.*batch.*|.*samples?)", re.IGNORECASE)


def likely_axes(shapes: Sequence[Sizes]) -> list[Axes]:
    """Places of the samples in inputs of these shapes, each once. A name like `batch` is believed where it stands."""
    return list(dict.fromkeys(islice(_suggested(shapes), MOST)))


def _suggested(shapes: Sequence[Sizes]) -> Iterator[Axes]:
    names = dict.fromkeys(size for shape in shapes for size in shape if isinstance(size, str))
    telling = [name for name in names if LIKE_BATCH.fullmatch(name)]
    yield from (_named(name, shapes) for name in telling)
    if not telling:
        if leading := _leading(shapes):
            yield leading
        yield from (_named(name, shapes) for name in names)
    options = [_options(shape, telling) for shape in shapes]
    if any(options):
        yield from product(*(axes or [None] for axes in options))
    else:
        yield tuple(NEW if shape else None for shape in shapes)


def _options(shape: Sizes, telling: list[str]) -> list[int]:
    """Axes that are free or 1; the one of a telling name alone where there is one."""
    found = [axis for axis, size in enumerate(shape) if not isinstance(size, int) or size == 1]
    return [axis for axis in found if shape[axis] in telling] or found


def _named(name: str, shapes: Sequence[Sizes]) -> Axes:
    """Where the name stands; the first axis where it is free without a name."""
    return tuple(shape.index(name) if name in shape else 0 if shape and shape[0] is None else None for shape in shapes)


def _leading(shapes: Sequence[Sizes]) -> Axes | None:
    """The first axis of all inputs that have the same size there; free sizes and 1 count as one."""
    sizes = {shape[0] if isinstance(shape[0], int) else 1 for shape in shapes if shape}
    if len(sizes) == 1:
        return tuple(0 if shape else None for shape in shapes)
    if 1 in sizes:
        return tuple(0 if shape and (not isinstance(shape[0], int) or shape[0] == 1) else None for shape in shapes)
    return None


def are_plain(shapes: Sequence[Sizes], axes: Axes) -> bool:
    """Whether there is nothing to prove: a name tells, or the first axis is free or 1 wherever there is one."""
    sizes = [_size(shape, axis) for shape, axis in zip(shapes, axes, strict=True)]
    if any(isinstance(size, str) and LIKE_BATCH.fullmatch(size) for size in sizes):
        return True
    firsts = [axis == (0 if shape else None) for shape, axis in zip(shapes, axes, strict=True)]
    return all(firsts) and not any(isinstance(size, int) and size != 1 for size in sizes)


def samples_at_once(shapes: Sequence[Sizes], axes: Sequence[int | None]) -> int | None:
    """How many samples the file takes at once, 1 where that is free; None where its inputs disagree."""
    sizes = {size for shape, axis in zip(shapes, axes, strict=True) if isinstance(size := _size(shape, axis), int)}
    return None if len(sizes) > 1 else sizes.pop() if sizes else 1


def output_axes(inputs: Sequence[Sizes], axes: Axes, outputs: Sequence[Sizes]) -> Axes:
    """Where outputs of the declared shapes have the samples: at the inputs' name or number, else first."""
    sizes = [_size(shape, axis) for shape, axis in zip(inputs, axes, strict=True) if axis is not None]
    names = [size for size in sizes if isinstance(size, str)]
    fixed = next((size for size in sizes if isinstance(size, int)), None)
    return tuple(_output_axis(shape, names, fixed) for shape in outputs)


def _output_axis(shape: Sizes, names: list[str], fixed: int | None) -> int:
    named = next((axis for axis, size in enumerate(shape) if size in names), None)
    if named is not None:
        return named
    if not shape:
        return NEW
    if fixed is None or shape[0] is None:
        return 0
    return next((axis for axis, size in enumerate(shape) if size == fixed), NEW if fixed == 1 else 0)


def is_free(shapes: Sequence[Sizes], axes: Axes) -> bool:
    """Whether the file declares that it takes any number of samples."""
    return not any(isinstance(_size(shape, axis), int) for shape, axis in zip(shapes, axes, strict=True))


def _size(shape: Sizes, axis: int | None) -> int | str | None:
    return None if axis is None else 1 if axis == NEW else shape[axis]


# the functions that move samples to the front and back; they may stand in a graph


def to_file(x: Tensor, *, axis: int) -> Tensor:
    """(samples, ...) as the file takes it."""
    return x.squeeze(0) if axis == NEW else x.movedim(0, axis)


def to_samples(y: Tensor, *, axis: int) -> Tensor:
    """What the file gives as (samples, ...)."""
    return y.unsqueeze(0) if axis == NEW else y.movedim(axis, 0)


def shared(x: Tensor, *, rank: int) -> Tensor:
    """What serves all samples: given once, or for every sample anew.

    Raises:
        StepError: it differs between samples.
    """
    if x.dim() == rank:
        return x
    if not bool((x == x[:1]).all()):
        raise StepError(
            "the samples differ in an input of which the network takes one for all of them",
            hint="Give each sample the same value of it, or export the model with a batch axis there.",
        )
    return x[0]


def for_each(y: Tensor, like: Tensor) -> Tensor:
    """What is the same for all samples, once for every sample of `like`."""
    return y.unsqueeze(0).expand(like.shape[0], *y.shape)
