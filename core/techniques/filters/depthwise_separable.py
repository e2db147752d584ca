"""Depthwise separable convolutions in place of full ones.

Howard et al. 2017, "MobileNets", arXiv:1704.04861, section 3.1: a filter for each input channel, then a 1 x 1
convolution, at 1/N + 1/D^2 of the cost. Departure: MobileNets are trained from scratch; we start from the trained
kernel. For each input channel the (out, kernel) matrix is replaced by its best rank-1 approximation (Guo et al.
2018, "Network Decoupling", arXiv:1808.05517, theorem 1), then both factors are fitted to the output that the layer
had before the step, layer by layer, each on what the layers before it give now (as in He et al. 2017,
arXiv:1707.06168, section 3.2).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from core.techniques.parts import Convolution, Replacement, convolution, layers_to_replace, put
from core.techniques.registry import technique
from core.training.inside import seen
from core.training.losses import relative_error
from core.training.objective import variance
from core.training.schedule import cosine, optimiser_of
from core.training.statistics import samples_that_fit
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context
    from core.network.layer import Layer
    from core.network.network import Network

MOST_SAMPLES = 512
PREPARING = 64
"""Samples at once while the layers are watched."""


@technique(steps.DepthwiseSeparable)
def separate_by_depth(network: Network, step: steps.DepthwiseSeparable, ctx: Context) -> None:
    layers = [layer for layer in layers_to_replace(network, step, ctx) if _has_a_window(layer, ctx)]
    before = network.copy().train_graph()
    batches = calibration(network, before, ctx) if step.iterations else []
    for place, layer in enumerate(layers):
        new = factored(layer.module)
        if batches:
            given, _ = seen(network.train_graph(), layer.name, batches)
            _, wanted = seen(before, layer.name, batches)
            chain = nn.Sequential(*new.parts.values()).to(network.device)
            first, last = fit_chain(chain, given, wanted, step, ctx.generator)
            new = replace(new, note=f"{new.note}, of the output {first:.3g}, fitted {last:.3g}")
        put(network, layer, new, False, ctx)
        ctx.progress((place + 1) / len(layers), layer.name)


def _has_a_window(layer: Layer, ctx: Context) -> bool:
    if math.prod(layer.weight.shape[2:]) > 1:
        return True
    ctx.note(f"{layer.name}: left alone, a 1 x 1 convolution is pointwise already")
    return False


def calibration(network: Network, graph: fx.GraphModule, ctx: Context) -> list[list[Tensor]]:
    """Arguments of as many calibration samples as fit in memory twice, in batches."""
    samples = ctx.data.calibrate
    if not len(samples):
        ctx.note("not fitted to the original's outputs, since there are no calibration data")
        return []
    one, _ = next(samples.batches(1))
    count = max(1, samples_that_fit(graph, tuple(network.arguments(one)), MOST_SAMPLES) // 2)
    return [network.arguments(inputs) for inputs, _ in samples.take(count).batches(PREPARING)]


def factored(module: nn.Module) -> Replacement:
    """The two layers that stand for an ungrouped convolution; together the best of their kind for its kernel."""
    assert isinstance(module, Convolution)
    weight = module.weight.detach()
    out, channels = weight.shape[:2]
    depthwise, pointwise = separated(weight)
    ones = (1,) * (weight.dim() - 2)
    parts = {
        "depthwise": convolution(depthwise[:, None], None, like=module, groups=channels),
        "pointwise": convolution(pointwise.reshape(out, channels, *ones), module.bias),
    }
    kernel = torch.einsum("nc,c...->nc...", pointwise, depthwise)
    error = float((weight - kernel).norm() / weight.norm().clamp_min(1e-30))
    cost = 1 / out + 1 / math.prod(weight.shape[2:])
    return Replacement(parts, cost, f"relative error of the weights {error:.3g}")


def separated(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Depthwise (in, *window) and pointwise (out, in) factors with the least squared error.

    Channel by channel the leading singular pair of W[:, c] as an (out, window) matrix, half of the singular value
    on each side.
    """
    matrices = kernel.double().movedim(1, 0).flatten(2)  # (in, out, window)
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    root = singular[:, :1].sqrt()
    depthwise = (root * right[:, 0]).reshape(kernel.shape[1], *kernel.shape[2:])
    return depthwise.to(kernel.dtype), (root * left[:, :, 0]).T.to(kernel.dtype)


def fit_chain(
    chain: nn.Sequential, given: Tensor, wanted: Tensor, step: steps.DepthwiseSeparable, generator: torch.Generator
) -> tuple[float, float]:
    """Train the chain to give `wanted` for `given`, in place; a fit that ends worse than it began is undone.

    Returns:
        Squared error relative to the variance, before and after.
    """
    scale = variance(wanted)
    start = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    first = _error(chain, given, wanted, scale)
    optimiser = optimiser_of("adam", chain.parameters(), step.learning_rate, weight_decay=0.0)
    for iteration in range(step.iterations):
        for group in optimiser.param_groups:
            group["lr"] = step.learning_rate * cosine(iteration, step.iterations)
        rows = torch.randint(len(given), (min(step.batch_size, len(given)),), generator=generator).to(given.device)
        optimiser.zero_grad()
        relative_error(chain(given[rows]), wanted[rows], scale).backward()
        optimiser.step()
    last = _error(chain, given, wanted, scale)
    if not last < first:
        chain.load_state_dict(start)
        last = first
    optimiser.zero_grad()
    return first, last


@torch.no_grad()
def _error(chain: nn.Sequential, given: Tensor, wanted: Tensor, scale: float) -> float:
    pairs = zip(given.split(PREPARING), wanted.split(PREPARING), strict=True)
    return sum(float(relative_error(chain(x), y, scale)) * len(x) for x, y in pairs) / len(given)
