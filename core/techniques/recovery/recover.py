"""Recovery: win back what the steps before lost.

First the statistics. Batch norms are estimated anew, as every pruning method since Li et al. 2017 does before it
tunes. Where they are folded into the weights, each channel of each layer gets the mean and deviation that it has
in the original: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2, with the deviation beside the mean. Both are taken back where the selection data say
that they do harm. Then fine-tuning towards the original's outputs (Hinton et al. 2015) and the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.network.layer import Layer
from core.network.network import Network
from core.network.one_sample import find_one_sample
from core.techniques.registry import technique
from core.training.objective import before_softmax
from core.training.statistics import (
    correct_channels,
    layer_moments,
    norms_of,
    reestimate,
    samples_that_fit,
)
from core.training.teach import Classroom
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context

BATCH = 64
"""Samples a batch norm sees at once while its statistics are estimated."""
MOST_SAMPLES = 512
KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@technique(steps.Recover)
def recover(network: Network, step: steps.Recover, ctx: Context) -> None:
    if step.statistics:
        win_back_statistics(network, ctx)
    if step.epochs > 0:
        report = ctx.fit(
            network,
            epochs=step.epochs,
            learning_rate=step.learning_rate,
            batch_size=step.batch_size,
            soft_weight=step.soft_weight,
            temperature=step.temperature,
            patience=step.patience,
            augmentation=step.augmentation,
            weight_decay=step.weight_decay,
        )
        ctx.note(f"fine-tuned: {report}")


def win_back_statistics(network: Network, ctx: Context) -> None:
    """Re-estimate or correct on a copy, and keep it unless it is worse on the selection data."""
    ctx.progress(0.0, "statistics")
    with Classroom(network, ctx) as room:
        before = room.score()
        trial = network.copy()
        room.graph, _ = before_softmax(trial.train_graph())
        done = statistics_from_data(room, trial, ctx)
        after = room.score()
    trial.to(network.device)
    figures = f" ({before} -> {after})" if before else ""
    if before is not None and after is not None and not after.is_better_than(before):
        ctx.note(f"{done}: taken back, it helped nothing{figures}")
        return
    network.graph = trial.graph
    ctx.note(f"{done}{figures}")


def statistics_from_data(room: Classroom, network: Network, ctx: Context) -> str:
    """Batch norms where there are any, else channels. Returns what was done, in words."""
    if find_one_sample(room.graph) or find_one_sample(room.teacher):
        return "statistics left as they are, since the network takes its samples one by one"
    samples = ctx.data.calibrate
    if norms_of(room.graph):
        batches = samples.batches(min(BATCH, len(samples)), ctx.generator)
        whole = (tuple(network.arguments(inputs)) for inputs, _ in batches)
        return f"{reestimate(room.graph, whole)} batch norms estimated anew on {len(samples)} samples"
    one, _ = next(samples.batches(1))
    count = samples_that_fit(room.teacher, tuple(network.arguments(one)), min(MOST_SAMPLES, len(samples)))
    inputs, _ = next(samples.take(count).batches(count))
    arguments = tuple(network.arguments(inputs))
    pairs = counterparts(network, ctx.original)
    moments = layer_moments(room.teacher, arguments, pairs.values())
    corrected = correct_channels(room.graph, arguments, {mine: moments[its] for mine, its in pairs.items()})
    return f"mean and deviation of the channels of {corrected} layers corrected on {count} samples"


def counterparts(network: Network, original: Network) -> dict[str, str]:
    """For each layer whose output stands for that of a layer of the original, that layer's name.

    Of a layer that was replaced by a chain `name/part` it is the last part. Layers whose weights are tied are left
    out, since they can't be corrected one by one; so are transposed convolutions with groups.
    """
    known = {layer.name for layer in original.layers(kinds=KINDS)}
    last: dict[str, str] = {}
    for layer in network.layers(having="weight", kinds=KINDS):
        name = layer.name
        while name and name not in known:
            name = name.rpartition("/")[0]
        if name:
            last[name] = layer.name
    return {mine: its for its, mine in last.items() if _is_correctable(network.layer(mine))}


def _is_correctable(layer: Layer) -> bool:
    return len(layer.tied_modules()) == 1 and not (layer.kind == "ConvTranspose" and layer.groups > 1)
