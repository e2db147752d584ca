"""The activations of recurrent layers, each with the alpha and beta that ONNX gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.network.unsupported import Unsupported


@dataclass(frozen=True)
class Kind:
    """A function of a tensor, alpha and beta; None where it has no such number."""

    compute: Callable[[Tensor, float, float], Tensor]
    alpha: float | None = None
    beta: float | None = None


KINDS = {
    "Relu": Kind(lambda x, a, b: torch.relu(x)),
    "Tanh": Kind(lambda x, a, b: torch.tanh(x)),
    "Sigmoid": Kind(lambda x, a, b: torch.sigmoid(x)),
    "Softsign": Kind(lambda x, a, b: F.softsign(x)),
    "Softplus": Kind(lambda x, a, b: F.softplus(x)),
    "Affine": Kind(lambda x, a, b: a * x + b, 0.0, 0.0),
    "LeakyRelu": Kind(lambda x, a, b: F.leaky_relu(x, a), 0.01),
    "ThresholdedRelu": Kind(lambda x, a, b: torch.where(x > a, x, 0.0), 0.0),
    "ScaledTanh": Kind(lambda x, a, b: a * torch.tanh(b * x), 0.0, 0.0),
    "HardSigmoid": Kind(lambda x, a, b: (a * x + b).clamp(0.0, 1.0), 0.2, 0.5),
    "Elu": Kind(lambda x, a, b: F.elu(x, a), 1.0),
}
"""With the defaults of alpha and beta that onnxruntime takes."""

NAMES = {name.lower(): name for name in KINDS}


@dataclass(frozen=True)
class Activation:
    """One of `KINDS` with its numbers."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return KINDS[self.name].compute(x, self.alpha, self.beta)


def read(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """Each function takes its numbers from the front of the lists, as far as it has any; the rest are defaults.

    Raises:
        Unsupported: a function is not known.
    """
    alpha, beta = iter(alphas), iter(betas)
    return [_read(name, alpha, beta) for name in names]


def _read(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name.lower() not in NAMES:
        raise Unsupported(f"the activation {name}")
    known = NAMES[name.lower()]
    kind = KINDS[known]
    alpha = 0.0 if kind.alpha is None else next(alphas, kind.alpha)
    beta = 0.0 if kind.beta is None else next(betas, kind.beta)
    return Activation(known, alpha, beta)
