"""Random weights by which an output depends on every layer and on the input.

Libraries start scales of residual branches near zero and matrices by rules of their own, so that a fresh network says
little about itself.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

INPUTS = 4
"""How many random inputs batch norms take their statistics from."""


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Matrices normal with variance 1 / fan-in, scales uniform in 0.5 to 1.5, offsets normal with deviation 0.1.

    A vector is an offset if it starts at 0, else a scale; single numbers and logarithms stay.
    """
    for name, tensor in module.named_parameters():
        if tensor.dim() == 0 or not tensor.is_floating_point() or "log" in name:
            continue
        if sum(size > 1 for size in tensor.shape) > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        elif name.endswith("bias") or not tensor.any():
            tensor.normal_(0, 0.1)
        else:
            tensor.uniform_(0.5, 1.5)


@torch.no_grad()
def settle(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Let batch norms take the statistics of what reaches them; then nothing fades or grows with depth."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
        norm.train()
    module(*(torch.cat([drawn(value) for _ in range(INPUTS)]) for value in inputs.values()))
    module.eval()


def drawn(value: Tensor) -> Tensor:
    """Random numbers of the example's type and shape.

    Floats are normal around a level of each channel's own, since means over much noise hardly vary. Integers lie
    between the example's smallest and largest.
    """
    if not value.is_floating_point():
        return torch.randint(int(value.min()), int(value.max()) + 1, value.shape)
    levels = torch.randn([size if axis < 2 else 1 for axis, size in enumerate(value.shape)])
    return torch.randn(value.shape) + levels
