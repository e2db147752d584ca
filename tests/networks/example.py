"""What a network of these files comes as."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Example(NamedTuple):
    """A module in eval mode and what to call it with: `module(**inputs)`, the batch axis first, a batch of two."""

    module: nn.Module
    inputs: dict[str, Tensor]


Build = Callable[[], tuple[nn.Module, dict[str, Tensor]]]


def seeded(build: Build) -> Callable[[], Example]:
    """The same weights at every call, such that the output depends on the input, and batch norms that saw something."""

    @wraps(build)
    def example() -> Example:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module, inputs = build()
            for part in module.modules():
                if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                    settle(part)
                elif isinstance(part, nn.Conv1d | nn.Conv2d):
                    nn.init.kaiming_normal_(part.weight)
        return Example(module.eval(), inputs)

    return example


@torch.no_grad()
def settle(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(0.0, 0.2)
    norm.running_var.uniform_(0.5, 1.5)
    norm.weight.uniform_(0.5, 1.5)
    norm.bias.normal_(0.0, 0.2)


def images(size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, size, size)


def tokens(length: int, vocabulary: int) -> Tensor:
    return torch.randint(0, vocabulary, (2, length))
