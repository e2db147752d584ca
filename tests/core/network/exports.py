"""The networks of `tests/networks` as torch's two exporters write them, once a session."""

import io
import warnings
from functools import cache

import onnx
import torch

from tests.core.network.invariants import Subject
from tests.networks import NETWORKS

EXPORTERS = ("script", "dynamo")


def subject(name: str, exporter: str) -> Subject:
    """The network in ONNX with its batch norms kept, and its example inputs."""
    inputs = NETWORKS[name]().inputs
    return Subject(onnx.load_from_string(_exported(name, exporter)), {k: x.numpy() for k, x in inputs.items()})


@cache
def _exported(name: str, exporter: str) -> bytes:
    module, inputs = NETWORKS[name]()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of themselves
        if exporter == "script":
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                file,  # pyright: ignore[reportArgumentType]  # this exporter takes a file as well as a path
                input_names=list(inputs),
                dynamic_axes={key: {batch_axis(key): "batch"} for key in inputs},
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                dynamo=False,
            )
        else:
            program = torch.onnx.export(module, kwargs=dict(inputs), dynamo=True, verbose=False)
            assert program is not None
            return program.model_proto.SerializeToString()
    return file.getvalue()


def batch_axis(name: str) -> int:
    """Of a recurrent state the second axis, of any other input the first."""
    return 1 if name == "state" else 0
