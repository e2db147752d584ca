"""Where a model file spends its parameters, its multiply-accumulates and its time, layer by layer.

Times come from onnxruntime's profile of the optimised model. It fuses nodes, and a fused node's time is that of
the whole group: it is given to the first layer in the group and labelled with the operators that ran. A layer that
ran inside another, or was folded into its weights, has no time of its own.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto

from core.measure.costs import Costs
from core.measure.parameters import OWNERS
from core.measure.runner import RUNTIME_ERRORS, Arrays
from core.measure.trace import NodeRun, named_copy, trace
from core.network.names import layer_names, node_name
from core.network.source import Source

RUNS = 20
OTHER = "(other)"


@dataclass
class LayerFigures:
    """One layer. Times are medians over runs, None where nothing ran under its name."""

    name: str
    op_type: str
    parameters: int
    nonzeros: int
    macs: int | None
    milliseconds: float | None = None
    ran_as: list[str] = field(default_factory=list)


def measure_layers(proto: ModelProto, inputs: Arrays, scratch: Path, samples: int | None = None) -> list[LayerFigures]:
    """Layers in order, then `(other)`: the time of what belongs to no layer. For the arguments see `Costs`."""
    costs = Costs(proto, inputs, scratch, samples)
    names = layer_names(costs.source)
    layers = {
        cost.node: LayerFigures(
            node_name(costs.source, names, cost.node),
            cost.op_type,
            cost.parameters,
            cost.nonzeros,
            cost.macs,
        )
        for cost in costs.layers()
    }
    try:
        copy, _ = named_copy(costs.source.model)
        runs = trace(copy, inputs, scratch, is_optimised=True, runs=RUNS)
    except RUNTIME_ERRORS:
        return list(layers.values())
    rest = LayerFigures(OTHER, "", 0, 0, None, 0.0)
    owners = Owners(costs.source, set(layers))
    for name, op_type, milliseconds in per_node(runs):
        layer = layers.get(owners.of(name, op_type), rest)
        layer.milliseconds = (layer.milliseconds or 0.0) + milliseconds
        if op_type not in layer.ran_as:
            layer.ran_as.append(op_type)
    return [*layers.values(), rest]


def per_node(runs: list[NodeRun]) -> list[tuple[str, str, float]]:
    """Name, operator and median milliseconds of each node that ran."""
    times: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        times.setdefault((run.name, run.op_type), []).append(run.microseconds / 1000)
    return [(name, op_type, float(np.median(found))) for (name, op_type), found in times.items()]


class Owners:
    """Which layer a node of the optimised graph belongs to, told from its name.

    onnxruntime names a fused node after one of the nodes in it, or after the value that the group makes.
    """

    def __init__(self, source: Source, layers: set[int]) -> None:
        self.source = source
        self.owners = {index for index in layers if source.nodes[index].op_type in OWNERS} or layers

    def of(self, name: str, op_type: str) -> int:
        """Place of the layer, or -1.

        Args:
            op_type: what ran; a normalisation that did not run as one is part of the layer before it.
        """
        place = self._place(name)
        if place is None and name.endswith(ALONE):  # a normalisation that runs as a convolution of its own
            return self.source.producer.get(name.removesuffix(ALONE), -1)
        if place is None:
            return -1
        layers = {index for index in self.owners if self.source.nodes[index].op_type not in FUSED - {op_type}}
        found = place if place in layers else self._behind(place, layers)
        return place if found < 0 and place in self.owners else found

    def _place(self, name: str) -> int | None:
        numbered = re.search(r"(?<![a-z])node_(\d+)", name)
        if numbered:
            return int(numbered.group(1))
        return self.source.producer.get(re.sub(r"_nchwc$", "", name))

    def _behind(self, place: int, layers: set[int]) -> int:
        """The last layer whose output reaches `place` through nodes that own no weights and have one input to fuse."""
        node = self.source.nodes[place]
        if node.op_type not in FUSED:
            return -1
        found = -1
        for name in node.input:
            before = self.source.producer.get(name)
            if before is not None and name not in self.source.constants:
                found = max(found, before if before in layers else self._behind(before, layers))
        return found


FUSED = {
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Gelu", "PRelu"),
    *("Add", "Sum", "Mul", "BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Identity", "Cast"),
}
"""Operators that onnxruntime folds into the layer before them."""

ALONE = "_bn_nchwc"
"""What onnxruntime puts behind the output of a normalisation that it could not fold."""
