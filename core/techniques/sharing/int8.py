"""Static quantisation: eight-bit weights and activations, with ranges found on calibration data.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv:1712.05877: unsigned activations with a zero point, biases in 32 bits. Weights are symmetric, a scale a channel
(Krishnamoorthi 2018, arXiv:1806.08342, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from onnx import TensorProto
from torch import fx

from core.data.samples import Samples
from core.formulas import AffineInt8, BiasInt32, attach
from core.formulas.bias import WIDEST
from core.network.exporter import float_type
from core.network.fold_add import fold_additions
from core.network.fold_bn import fold_batch_norms
from core.network.one_sample import find_one_sample
from core.quantizers import ActivationQuantizer
from core.quantizers.correction import correct_biases, mean_outputs
from core.quantizers.links import link_biases
from core.quantizers.observers import Entropy, MinMax, Observer, Percentile
from core.quantizers.placement import quantized_values
from core.quantizers.processor import saturates
from core.techniques.distinct import chosen_layers, distinct, left_alone, names_of
from core.techniques.registry import technique
from modelpress import steps
from modelpress.problem import StepError

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Layer, Network

BATCH = 32
CORRECTION_SAMPLES = 128
"""Samples on which biases are corrected, all at once: each layer's mean must be known before the next is computed."""


@technique(steps.Int8Quantization)
def quantize_to_int8(network: Network, step: steps.Int8Quantization, ctx: Context) -> None:
    samples = ctx.data.calibrate.take(step.samples)
    if not len(samples):
        raise StepError("quantize.int8 needs calibration data", hint="Add training samples; labels are not needed.")
    if float_type(network.index) != TensorProto.FLOAT:
        raise StepError(
            "quantize.int8 takes networks that are stored in float32: integer kernels give no other floats",
            hint="Start from the float32 model; eight bits are smaller than sixteen.",
        )
    if any(isinstance(module, ActivationQuantizer) for module in network.graph.modules()):
        raise StepError(
            "the network is already quantised: an earlier step was quantize.int8 too",
            hint="Quantise all layers in one step; its `layers` says which.",
        )
    fold_batch_norms(network)
    fold_additions(network)
    layers = chosen_layers(network, step)
    quantizers = insert_quantizers(network, layers)
    graph, batch = calibration_graph(network)
    calibrate(network, graph, quantizers, samples, batch, observer(step), ctx)
    few = network.arguments(
        next(iter(samples.take(CORRECTION_SAMPLES if batch > 1 else 1).batches(CORRECTION_SAMPLES)))[0]
    )
    means = mean_outputs(graph, few, [layer.name for layer in layers])
    bits = 7 if narrow_weights(step, ctx) else 8
    quantize_weights(layers, bits)
    for quantizer in quantizers:
        quantizer.settle()
    if step.correct_bias and batch > 1:
        correct_biases(graph, few, means)
    for layer in layers:
        quantize_bias(network.graph, layer)
    link_biases(network.graph)
    ctx.note(f"{bits}-bit weights, 8-bit activations: {names_of(layers)}; {left_alone(network, layers)}")
    ctx.progress(1.0, f"{len(layers)} layers on integers")


def insert_quantizers(network: Network, layers: list[Layer]) -> list[ActivationQuantizer]:
    """Quantisers on all edges that integer kernels need; off, so that nothing changes yet."""
    made: list[ActivationQuantizer] = []
    for values in quantized_values(network.graph, [layer.node for layer in layers]):
        quantizer = ActivationQuantizer()
        quantizer.is_on = False
        for value in values:
            network.insert_after(value, quantizer)
        made.append(quantizer)
    return made


def calibration_graph(network: Network) -> tuple[fx.GraphModule, int]:
    """What to run calibration samples through, and how many at once."""
    try:
        graph = network.train_graph()
    except StepError:
        return network.graph, 1
    return (network.graph, 1) if find_one_sample(graph) else (graph, BATCH)


def observer(step: steps.Int8Quantization) -> Callable[[], Observer]:
    if step.calibration == "percentile":
        return lambda: Percentile(step.percentile)
    return Entropy if step.calibration == "entropy" else MinMax


def calibrate(
    network: Network,
    graph: fx.GraphModule,
    quantizers: list[ActivationQuantizer],
    samples: Samples,
    batch: int,
    new_observer: Callable[[], Observer],
    ctx: Context,
) -> None:
    """Let the quantisers see the samples, a batch at a time."""
    for quantizer in quantizers:
        quantizer.observer = new_observer()
    seen = 0
    with torch.no_grad():
        for inputs, _ in samples.batches(batch):
            graph(*network.arguments(inputs))
            seen += batch
            ctx.progress(0.9 * min(1.0, seen / len(samples)), "calibrating")


def narrow_weights(step: steps.Int8Quantization, ctx: Context) -> bool:
    """Whether weights keep to seven bits. What this machine needs is a decision of the job."""
    if step.reduce_range != "auto":
        return step.reduce_range == "yes"
    return ctx.decide("reduce_range", saturates, "sums of two products saturate on processors without VNNI")


def quantize_weights(layers: list[Layer], bits: int) -> None:
    for layer in distinct(layers):
        layer.reparametrise(AffineInt8(axis=0, bits=bits, integer_kernels=True, weight=layer.formula))


def quantize_bias(graph: fx.GraphModule, layer: Layer) -> None:
    """Round the bias to steps of input scale times weight scale.

    A channel of almost no weights would have steps so small that its bias overflows: its weights get larger ones.
    """
    module, edge = layer.module, layer.node.args[0]
    if module.bias is None:
        return
    assert isinstance(edge, fx.Node)
    quantizer, weight = graph.get_submodule(str(edge.target)), layer.formula
    assert isinstance(quantizer, ActivationQuantizer)
    assert isinstance(weight, AffineInt8)
    with torch.no_grad():
        weight.scale.copy_(torch.maximum(weight.scale, module.bias.abs() / (quantizer.scale * WIDEST)))
        bias = BiasInt32(quantizer.scale * weight.scale)
        bias.fit(module.bias)
    attach(module, bias, "bias")
