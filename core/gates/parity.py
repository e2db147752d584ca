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
WITHIN_A_QUANTUM = 0.999
"""Share of rounded values that may differ by at most one integer: a sum in another order flips a few."""
QUANTISED_OUTPUT = 0.05
"""Relative error of a whole output behind quantisers, where a flipped integer has gone through layers."""


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
    size = interface.batch or count
    pieces = []
    with torch.no_grad():
        for start in range(0, count - count % size, size):
            tensors = {name: torch.from_numpy(array[start : start + size]) for name, array in inputs.items()}
            pieces.append({name: value.cpu().numpy() for name, value in network(tensors).items()})
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype.kind != "f":
        return float((found != expected).mean())
    rows = expected[: len(found)].astype(np.float64)
    return float(np.abs(found - rows).max(initial=0.0) / max(np.abs(rows).max(initial=0.0), 1e-12))


def check_quantised(network: Network, model: Path, interface: Interface, inputs: Arrays, edges: list[fx.Node]) -> None:
    """Fake-quantised torch against onnxruntime without optimisation, at each quantiser and at the outputs.

    Raises:
        UnsoundError: naming the quantiser or output.
    """
    size = interface.batch or len(next(iter(inputs.values())))
    few = {name: array[:size] for name, array in inputs.items()}
    names = network.export().names
    ours, outputs = run_with_edges(network, few)
    theirs = run_with_values(model, [names[node] for node in edges], few)
    for node in edges:
        module = network.graph.get_submodule(str(node.target))
        assert isinstance(module, ActivationQuantizer)
        quantum = float(module.scale.detach())
        apart = np.abs(ours[node].cpu().numpy() - theirs[names[node]]) > 1.01 * quantum
        if (~apart).mean() < WITHIN_A_QUANTUM:
            raise UnsoundError(
                f"at the quantiser {names[node]!r} {apart.mean():.1%} of the values are off by more than one step"
            )
    for name, value in outputs.items():
        expected = theirs[name].astype(np.float64)
        error = np.linalg.norm(value.cpu().numpy() - expected) / max(float(np.linalg.norm(expected)), 1e-12)
        if expected.size and error > QUANTISED_OUTPUT:
            raise UnsoundError(f"the output {name!r} of torch and of unoptimised onnxruntime differ by {error:.1%}")


def run_with_edges(network: Network, inputs: Arrays) -> tuple[dict[fx.Node, Tensor], dict[str, Tensor]]:
    """What each quantiser gives, and the outputs."""
    seen: dict[fx.Node, Tensor] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if is_edge(n):
                seen[n] = value
            return value

    tensors = network.arguments({name: torch.from_numpy(array) for name, array in inputs.items()})
    with torch.no_grad():
        outputs = Watch(network.graph).run(*tensors)
    return seen, dict(zip(network.output_names, outputs, strict=True))


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
