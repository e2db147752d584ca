"""Random inputs for looking at a network: to prove a batch axis, to count costs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.network.limits import check_allocation
from core.network.source import Shape, Source
from core.network.tensors import compute_type
from core.network.unsupported import Unsupported
from modelpress.problem import ModelError

FREE_SIZES = {3: 128, 4: 224, 5: 16}
"""What a free axis beyond the samples' is taken to be, by the input's rank; 32 where not named."""

KEPT = 0.75
"""Share of a mask that is true."""


def example_arguments(
    source: Source,
    batch: int = 1,
    device: torch.device | None = None,
    free: int | None = None,
    axes: Sequence[int | None] | None = None,
    seed: int = 0,
) -> list[Tensor]:
    """Seeded inputs of the declared shapes with `batch` samples.

    Floats are normal; integers 0 or 1, which are in range of nearly any table; masks mostly true.

    Args:
        free: size of free axes beyond the samples'; by rank if left out.
        axes: where each input has its samples, None for inputs that have none; the first axis if left out.
    """
    shapes = example_shapes([source.declared(value) for value in source.inputs], batch, free, axes)
    generator = torch.Generator().manual_seed(seed)
    return [_example(source, place, shape, generator).to(device) for place, shape in enumerate(shapes)]


def example_shapes(
    declared: Sequence[Shape], batch: int = 1, free: int | None = None, axes: Sequence[int | None] | None = None
) -> list[list[int]]:
    """Sizes for what the declared shapes leave free: equal names get equal sizes, and sums of names the sum."""
    places = [0 if shape else None for shape in declared] if axes is None else list(axes)
    named: dict[str, int] = {}
    for shape, axis in zip(declared, places, strict=True):
        if axis is not None and isinstance(name := shape[axis], str):
            named[name] = batch
    found = []
    for shape, axis in zip(declared, places, strict=True):
        usual = FREE_SIZES.get(len(shape), 32) if free is None else free
        sizes = [_size(size, named, usual) for size in shape]
        if axis is not None:
            sizes[axis] = batch
        found.append(sizes)
    return found


def _size(size: int | str | None, named: dict[str, int], usual: int) -> int:
    if size is None:
        return usual
    if isinstance(size, int):
        return size
    parts = [part.strip() for part in size.split("+")]
    return sum(int(part) if part.isdigit() else named.setdefault(part, usual) for part in parts)


def _example(source: Source, position: int, sizes: list[int], generator: torch.Generator) -> Tensor:
    value = source.inputs[position]
    check_allocation(sizes)
    try:
        kind = compute_type(value.type.tensor_type.elem_type)
    except Unsupported as reason:
        raise ModelError(f"the input {value.name!r} has the {reason}, which is not handled") from reason
    if kind.is_floating_point:
        return torch.randn(sizes, generator=generator)
    if kind == torch.bool or "mask" in value.name.lower():
        return _mask(sizes, generator).to(kind)
    return torch.randint(0, 2, sizes, generator=generator).to(kind)


def _mask(sizes: list[int], generator: torch.Generator) -> Tensor:
    """Mostly true; the first place of every row is, so that no row masks everything."""
    mask = torch.rand(sizes, generator=generator) < KEPT
    if sizes and math.prod(sizes):
        mask[..., 0] = True
    return mask
