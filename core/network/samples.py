"""Random inputs for looking at a network: to prove a batch axis, to count costs."""

import torch
from torch import Tensor

from core.network.limits import check_allocation
from core.network.source import Source
from core.network.tensors import compute_type
from core.network.unsupported import Unsupported
from modelpress.problem import ModelError

FREE_SIZES = {3: 128, 4: 224, 5: 16}
"""What a free axis beyond the first is taken to be, by the input's rank; 32 where not named."""


def example_arguments(
    source: Source, batch: int = 1, device: torch.device | None = None, free: int | None = None
) -> list[Tensor]:
    """Seeded inputs of the declared shapes, floats normal and integers 0 or 1, with `batch` samples.

    Args:
        free: size of free axes beyond the first; by rank if left out.
    """
    generator = torch.Generator().manual_seed(0)
    return [_example(source, position, batch, free, generator).to(device) for position in range(len(source.inputs))]


def _example(source: Source, position: int, batch: int, free: int | None, generator: torch.Generator) -> Tensor:
    value = source.inputs[position]
    declared = source.declared(value)
    other = free if free is not None else FREE_SIZES.get(len(declared), 32)
    sizes = [size if isinstance(size, int) else other for size in declared]
    if sizes:
        sizes[0] = batch
    check_allocation(sizes)
    try:
        kind = compute_type(value.type.tensor_type.elem_type)
    except Unsupported as reason:
        raise ModelError(f"the input {value.name!r} has the {reason}, which is not handled") from reason
    if kind.is_floating_point:
        return torch.randn(sizes, generator=generator)
    return torch.randint(0, 2, sizes, generator=generator).to(kind)
