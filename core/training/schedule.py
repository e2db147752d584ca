"""Optimiser and step size."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

Optimiser = Literal["sgd", "adam"]

MOMENTUM = 0.9
WARM_UP = 0.05
"""Fraction of the steps over which the step size rises to its peak: gradients are large right after surgery."""


def optimiser_of(
    kind: Optimiser, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or Adam with decoupled decay. Matrices and kernels decay; biases and norms don't."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if kind == "adam":
        return torch.optim.AdamW(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True)


def cosine(step: int, steps: int) -> float:
    """Factor on the peak step size: a linear rise, then half a cosine down to nearly 0 (Loshchilov and Hutter 2017)."""
    warm = max(1, round(WARM_UP * steps))
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
