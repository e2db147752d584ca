"""The sound gate, after every step: what fails it is never handed to anybody."""

from pathlib import Path

import numpy as np
import onnx

from core.gates.parity import check_parity
from core.interface import Interface, interface_of
from core.measure.runner import RUNTIME_ERRORS, Arrays, Runner, open_session
from core.network.checks import run_checker
from core.network.finite import check_finite
from core.network.network import Network
from modelpress.problem import ModelError, UnsoundError


def check_sound(network: Network, model: Path, wanted: Interface, inputs: Arrays, floor: float) -> None:
    """Finite, valid ONNX, the original's interface, runs in stock onnxruntime, equal to its torch form.

    Args:
        network: the torch form of what was exported to `model`.
        inputs: a few samples.
        floor: relative error between torch and onnxruntime that the original itself shows.

    Raises:
        UnsoundError: naming what is wrong.
    """
    try:
        check_finite(network.graph)
        proto = onnx.load(model)
        run_checker(proto)
        found = interface_of(proto)
    except ModelError as error:
        raise UnsoundError(f"the exported network is not valid: {str(error)[:500]}") from error
    check_interface(found, wanted)
    try:
        runner = Runner(open_session(model), wanted)
        outputs = runner.run(inputs)
    except RUNTIME_ERRORS as error:
        raise UnsoundError(f"stock onnxruntime does not run the exported network: {str(error)[:500]}") from error
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UnsoundError(
                f"the output {name!r} is not finite", hint="The step changed too much; ask for less of it."
            )
    check_parity(network, model, wanted, inputs, floor)


def check_interface(found: Interface, wanted: Interface) -> None:
    """The same names, types and declared axes, in the same order. Raises UnsoundError."""
    for kind, ours, theirs in (("input", found.inputs, wanted.inputs), ("output", found.outputs, wanted.outputs)):
        if [str(port) for port in ours] != [str(port) for port in theirs]:
            told = "; ".join(f"{port}" for port in ours), "; ".join(f"{port}" for port in theirs)
            raise UnsoundError(f"the {kind}s changed: they are {told[0]}, and were {told[1]}")
