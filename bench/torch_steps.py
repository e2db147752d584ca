"""One forward and one training step of an imported network against the same network written by hand in torch."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from core.network.network import Network
from tests.networks.blocks import ConvNorm
from tests.networks.convolutional import BasicBlock
from tests.networks.transformers import BertLayer

RUNS = 15


class Encoder(nn.Sequential):
    """Four layers of BERT's, 256 wide."""

    def __init__(self) -> None:
        super().__init__(*(BertLayer(256, 4) for _ in range(4)))
        self.mask = nn.Buffer(torch.zeros(1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, self.mask)
        return x


def resnet20() -> nn.Module:
    """The one for CIFAR (He et al. 2015, arXiv:1512.03385, section 4.2), up to its features."""
    widths = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    return nn.Sequential(ConvNorm(3, 16), *(BasicBlock(*sizes) for sizes in [*widths, (64, 64, 1)]))


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ResNet-20, 32 images": lambda: (resnet20(), torch.randn(32, 3, 32, 32)),
    "ResNet-20, one image": lambda: (resnet20(), torch.randn(1, 3, 32, 32)),
    "encoder, 8 x 64 tokens": lambda: (Encoder(), torch.randn(8, 64, 256)),
}


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Medians of milliseconds, in turns, on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return {name: compare(*make(), folder / "by_hand.onnx") for name, make in CASES.items()}


def compare(by_hand: nn.Module, x: Tensor, path: Path) -> dict[str, float]:
    by_hand.eval()
    preserve = torch.onnx.TrainingMode.PRESERVE  # or it would fold the batch norms
    torch.onnx.export(by_hand, (x,), str(path), input_names=["x"], dynamo=False, training=preserve)
    imported = Network.from_onnx(path).graph
    with torch.no_grad():
        torch.testing.assert_close(imported(x)[0], first(by_hand(x)), rtol=1e-3, atol=1e-4)
    figures = {}
    for step in (forward, train):
        mine, theirs = in_turns(step, [imported, by_hand], x)
        figures[f"{step.__name__}, by hand, ms"] = round(theirs, 2)
        figures[f"{step.__name__}, ratio"] = round(mine / theirs, 3)
    return figures


def forward(module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        module(x)


def train(module: nn.Module, x: Tensor) -> None:
    """Forward, backward, and a step of plain gradient descent."""
    first(module(x)).square().mean().backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-6)
                parameter.grad = None


def first(output: Tensor | Sequence[Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def in_turns(step: Callable[[nn.Module, Tensor], None], modules: Sequence[nn.Module], x: Tensor) -> list[float]:
    times: list[list[float]] = [[] for _ in modules]
    for module in modules:
        step(module, x)
    for _ in range(RUNS):
        for module, taken in zip(modules, times, strict=True):
            began = time.perf_counter()
            step(module, x)
            taken.append(1e3 * (time.perf_counter() - began))
    return [statistics.median(taken) for taken in times]
