"""What a model file holds and costs: parameters, non-zeros, multiply-accumulates, bytes. Counted on the file itself."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from core.measure.runner import RUNTIME_ERRORS, Arrays, open_session, run_session
from core.measure.trace import NodeRun, macs_of, named_copy, trace
from core.network.source import Source

OWNERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "QLinearConv", "QLinearMatMul"} | {
    "ConvInteger",
    "MatMulInteger",
    "LSTM",
    "GRU",
    "RNN",
}
NO_PARAMETERS = {"QuantizeLinear", "DequantizeLinear", "Resize", "Clip", "Pad", "Dropout", "ConstantOfShape", "Range"}
STATISTICS = {"BatchNormalization": {3, 4}}  # running mean and variance are not trained
INTEGER_WEIGHTS = {"QLinearConv": {3, 8}, "QLinearMatMul": {3}, "ConvInteger": {1}, "MatMulInteger": {1}}


@dataclass(frozen=True)
class LayerCost:
    """What one node that owns weights holds and does."""

    node: int
    op_type: str
    parameters: int
    nonzeros: int
    macs: int | None


class Costs:
    """Counts on one model.

    A parameter is an element of a constant that a running node computes with: weights, biases, scales of a
    normalisation, tables. Constants that are computed from stored ones (masked, shared or quantised weights) count
    as what they unfold to, running statistics and quantisers' scales not at all, and ties once.
    """

    def __init__(self, proto: ModelProto, inputs: Arrays | None, scratch: Path) -> None:
        """
        Args:
            inputs: one run's inputs, to find shapes by running; None leaves multiply-accumulates unknown.
        """
        self.source = Source(proto)
        self.samples = len(next(iter(inputs.values()))) if inputs else 1
        self.inputs, self.scratch = inputs, scratch

    @cached_property
    def uses(self) -> dict[int, list[str]]:
        """Names of the parameters of each running node, by its place."""
        return {
            index: names
            for index, node in enumerate(self.source.nodes)
            if not set(node.output) <= self.source.constants and (names := self._parameters_of(node))
        }

    def _parameters_of(self, node: NodeProto) -> list[str]:
        if node.op_type in NO_PARAMETERS:
            return []
        return [
            name
            for place, name in enumerate(node.input)
            if name in self.source.constants
            and place not in STATISTICS.get(node.op_type, ())
            and self._is_parameter(node, place, name)
        ]

    def _is_parameter(self, node: NodeProto, place: int, name: str) -> bool:
        if place in INTEGER_WEIGHTS.get(node.op_type, ()):
            return True
        value = self.values.get(name)
        if value is None or value.dtype.kind not in "fV":  # bfloat16 and smaller floats are of kind V
            return False
        return value.size > 1 or node.op_type in OWNERS

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """The constants that running nodes read, unfolded."""
        read = {
            name
            for node in self.source.nodes
            if not set(node.output) <= self.source.constants
            for name in node.input
            if name in self.source.constants
        }
        held = {
            name: numpy_helper.to_array(self.source.initializers[name]) for name in read & set(self.source.initializers)
        }
        return held | self._computed(sorted(read - set(self.source.initializers)))

    def _computed(self, names: list[str]) -> dict[str, np.ndarray]:
        """Constants that nodes make, evaluated by onnxruntime; nothing where it can't."""
        if not names:
            return {}
        live = sorted(self.source.live(names))
        nodes = [self.source.nodes[index] for index in live]
        needed = {name for index in live for name in self.source.needs(index)} & set(self.source.initializers)
        outputs = [onnx.helper.make_tensor_value_info(name, self.source.element_type(name), None) for name in names]
        graph = onnx.helper.make_graph(
            nodes, "constants", [], outputs, [self.source.initializers[name] for name in sorted(needed)]
        )
        model = onnx.helper.make_model(graph, opset_imports=self.source.model.opset_import)
        model.ir_version = max(self.source.model.ir_version, 4)
        try:
            return run_session(open_session(model.SerializeToString()), names, {})
        except RUNTIME_ERRORS:
            return {}

    @property
    def parameters(self) -> int:
        return sum(self.values[name].size for name in self._distinct if name in self.values)

    @property
    def nonzeros(self) -> int:
        return sum(int(np.count_nonzero(self.values[name])) for name in self._distinct if name in self.values)

    @property
    def _distinct(self) -> dict[str, None]:
        return dict.fromkeys(name for names in self.uses.values() for name in names)

    @property
    def is_finite(self) -> bool:
        return all(np.isfinite(value).all() for value in self.values.values() if value.dtype.kind == "f")

    @cached_property
    def runs(self) -> dict[str, tuple[NodeProto, list[NodeRun]]]:
        """Every node that ran, by its name in the named copy; empty where the model could not be run."""
        if self.inputs is None:
            return {}
        copy, nodes = named_copy(self.source.model)
        try:
            found = trace(copy, self.inputs, self.scratch, is_optimised=False)
        except RUNTIME_ERRORS:
            return {}
        runs: dict[str, tuple[NodeProto, list[NodeRun]]] = {}
        for run in found:
            if run.name in nodes:
                runs.setdefault(run.name, (nodes[run.name], []))[1].append(run)
        return runs

    def node_macs(self, index: int) -> int | None:
        """Multiply-accumulates of one sample in the main graph's node `index`; None where it did not run."""
        entry = self.runs.get(f"node_{index}")
        return sum(macs_of(run, entry[0]) for run in entry[1]) // self.samples if entry else None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one sample; work on constants is done once, at load, and is left out."""
        if not self.runs:
            return None
        constant = {f"node_{i}" for i, n in enumerate(self.source.nodes) if set(n.output) <= self.source.constants}
        counted = (
            macs_of(run, node) for name, (node, runs) in self.runs.items() if name not in constant for run in runs
        )
        return sum(counted) // self.samples

    def output_shape(self, index: int) -> list[int] | None:
        """Shape of the first output of node `index` as it ran."""
        entry = self.runs.get(f"node_{index}")
        return entry[1][0].output_shapes[0] if entry and entry[1][0].output_shapes else None

    def layers(self) -> list[LayerCost]:
        """Nodes that own weights, in order."""
        costs = []
        for index, names in self.uses.items():
            node = self.source.nodes[index]
            held = [self.values[name] for name in names if name in self.values]
            zeros = sum(int(np.count_nonzero(value)) for value in held)
            costs.append(LayerCost(index, node.op_type, sum(v.size for v in held), zeros, self.node_macs(index)))
        return costs
