"""Training images changed a little at each visit, so that few samples go further.

The original answers for the changed image itself, so that nothing is assumed about what a change does to the answer:
Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", arXiv:2106.05237.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Augmentation = Literal["none", "shift", "shift_and_flip"]
SHIFT = 8
"""Images move by at most an eighth of their height and width."""


def augmented(inputs: tuple[Tensor, ...], kind: Augmentation, generator: Generator) -> tuple[Tensor, ...]:
    """The inputs with every image (n, channels, height, width) among them changed; others as they are."""
    if kind == "none":
        return inputs
    return tuple(moved(x, generator, flip=kind == "shift_and_flip") if is_image(x) else x for x in inputs)


def is_image(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_floating_point()


def moved(x: Tensor, generator: Generator, *, flip: bool) -> Tensor:
    """Each image shifted by whole pixels, its border repeated, and with `flip` half of them mirrored left to right."""
    count, _, height, width = x.shape
    down, right = height // SHIFT, width // SHIFT
    rows = _places(count, height, down, generator)
    columns = _places(count, width, right, generator)
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    padded = F.pad(x, (right, right, down, down), mode="replicate")
    each = torch.arange(count, device=x.device)[:, None, None]
    rows, columns = rows.to(x.device), columns.to(x.device)
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _places(count: int, size: int, most: int, generator: Generator) -> Tensor:
    """(count, size) positions on the padded axis of each image's rows or columns."""
    start = torch.randint(0, 2 * most + 1, (count, 1), generator=generator)
    return start + torch.arange(size)
