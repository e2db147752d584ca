"""Does the exported file compute what the network computes in torch? How closely depends on the network's state."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, fx

from core.interface import Interface
from core.measure.runner import RUNTIME_ERRORS, Arrays, Runner, open_session, run_session
from core.network.exporter import float_type, is_edge
from core.network.network import Network
from core.quantizers.activation import ActivationQuantizer
from modelpress.problem import UnsoundError

TOLERANCE: dict[int, float] = {
    TensorProto.FLOAT: 1e-5,
    TensorProto.DOUBLE: 1e-5,
    TensorProto.FLOAT16: 2e-3,
    TensorProto.BFLOAT16: 2e-2,
}
"""Largest difference relative to the largest value of an output, by the type that the file computes in."""
FLOOR_FACTOR = 4.0
"""A network as ill-conditioned as the original may differ by a few times what the original itself does."""
QUANTUM = 1.01
"""Steps that a rounded value may be off by: a sum in another order falls on the other side of a half."""
QUANTISED_OUTPUT = 1e-3
"""Largest difference of an output behind quantisers relative to its largest value: biases are rounded too."""


def check_parity(network: Network, model: Path, interface: Interface, inputs: Arrays, floor: float) -> None:
    """
    Args:
        floor: relative error of the original between torch and onnxruntime.

    Raises:
        UnsoundError: saying where they differ and by how much.
    """
    edges = [node for node in network.graph.graph.nodes if is_edge(node)]
    if edges:
        check_quantised(network, model, interface, inputs, edges)
        return
    tolerance = max(TOLERANCE.get(float_type(network.index), 1e-5), FLOOR_FACTOR * floor)
    error = relative_error(network, model, interface, inputs)
    if error > tolerance:
        raise UnsoundError(
            f"torch and onnxruntime differ by {error:.2g} of the largest output; {tolerance:.2g} is allowed"
        )


def relative_error(network: Network, model: Path, interface: Interface, inputs: Arrays) -> float:
    """Largest difference between torch and onnxruntime over the largest absolute value, worst of the outputs."""
    expected = Runner(open_session(model), interface).run(inputs)
    found = in_torch(network, interface, inputs)
    return max(_relative(found[name], expected[name]) for name in expected)


def in_torch(network: Network, interface: Interface, inputs: Arrays) -> Arrays:
    """Outputs of the torch form; a network of fixed batch gets the samples piece by piece, as the file does."""
    count = len(next(iter(inputs.values())))
    size = interface.batch or (1 if interface.takes_alone(inputs) else count)
    pieces = []
    with torch.no_grad():
        for start in range(0, count - count % size, size):
            rows = interface.to_file({name: array[start : start + size] for name, array in inputs.items()})
            found = network({name: torch.from_numpy(array) for name, array in rows.items()})
            pieces.append(interface.to_samples({name: value.cpu().numpy() for name, value in found.items()}, size))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype.kind != "f":
        return float((found != expected).mean())
    rows = expected[: len(found)].astype(np.float64)
    return float(np.abs(found - rows).max(initial=0.0) / max(np.abs(rows).max(initial=0.0), 1e-12))


def check_quantised(network: Network, model: Path, interface: Interface, inputs: Arrays, edges: list[fx.Node]) -> None:
    """Fake-quantised torch against onnxruntime without optimisation, at each quantiser and at the outputs.

    Behind each quantiser torch goes on with onnxruntime's values, so that every piece of the network is compared on
    equal inputs and one flipped integer does not become many.

    Raises:
        UnsoundError: naming the quantiser or output.
    """
    size = interface.batch or len(next(iter(inputs.values())))
    few = interface.to_file({name: array[:size] for name, array in inputs.items()})
    names = network.export().names
    theirs = run_with_values(model, [names[node] for node in edges], few)
    tensors = network.arguments({name: torch.from_numpy(array) for name, array in few.items()})
    with torch.no_grad():
        outputs = PieceByPiece(network.graph, {node: theirs[names[node]] for node in edges}, names).run(*tensors)
    for name, value in zip(network.output_names, outputs, strict=True):
        error = _relative(value.cpu().numpy(), theirs[name])
        if error > QUANTISED_OUTPUT:
            raise UnsoundError(f"the output {name!r} of torch and of unoptimised onnxruntime differ by {error:.2g}")


class PieceByPiece(fx.Interpreter):
    """Runs the network, compares at each quantiser, and goes on with the other side's value."""

    def __init__(self, graph: fx.GraphModule, theirs: dict[fx.Node, np.ndarray], names: dict[fx.Node, str]) -> None:
        super().__init__(graph)
        self.theirs, self.names = theirs, names

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n not in self.theirs:
            return value
        module = self.module.get_submodule(str(n.target))
        assert isinstance(module, ActivationQuantizer)
        assert isinstance(value, Tensor)
        other = torch.from_numpy(self.theirs[n]).to(value.device)
        apart = (value - other).abs() > QUANTUM * module.scale
        if bool(apart.any()):
            share = float(apart.float().mean())
            raise UnsoundError(
                f"at the quantiser {self.names[n]!r} {share:.2%} of the values are off by more than one step"
            )
        return other


def run_with_values(model: Path, values: list[str], inputs: Arrays) -> Arrays:
    """The outputs and the inner `values` of the file, from onnxruntime without optimisation."""
    proto = onnx.load(model)
    held = {output.name for output in proto.graph.output}
    names = [*held, *(name for name in dict.fromkeys(values) if name not in held)]
    for name in names[len(held) :]:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    try:
        return run_session(open_session(proto.SerializeToString(), is_optimised=False), names, inputs)
    except RUNTIME_ERRORS as error:
        raise UnsoundError(f"unoptimised onnxruntime does not run the exported network: {str(error)[:500]}") from error
