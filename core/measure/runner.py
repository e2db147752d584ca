"""Runs a model file in stock onnxruntime, whatever batch size it declares."""

from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as states  # pyright: ignore[reportAttributeAccessIssue]  # compiled

from core.interface import Interface
from core.wording import message_of
from modelpress.problem import ModelError

RUNTIME_ERRORS = (
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoSuchFile,
    states.NotImplemented,
    states.RuntimeException,
    states.EPFail,
    UnicodeDecodeError,  # it was to say something of a text in the model that is none
)
"""What onnxruntime raises on a model that it can't load or run."""

Arrays = dict[str, np.ndarray]


def open_session(
    model: Path | bytes, threads: int | None = None, *, is_optimised: bool = True, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        threads: of one operator; None leaves it to onnxruntime.
        profile: where to write a profile, as a prefix of the file's name.

    Raises:
        one of RUNTIME_ERRORS
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = (
        4  # fatal only: what is wrong with a model is raised, the rest is noise in the job's log
    )
    options.intra_op_num_threads = threads or 0
    # Two sessions are timed in turn: the threads of one must not spin while the other runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not is_optimised:  # weights that were packed anew lose their shapes in the profile
        options.add_session_config_entry("session.disable_prepacking", "1")
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if is_optimised else levels.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def load_model(model: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session on a client's model.

    Raises:
        ModelError: onnxruntime does not take it; it names the node.
    """
    try:
        return open_session(model, threads)
    except RUNTIME_ERRORS as error:
        raise ModelError(
            f"onnxruntime can't load the model: {message_of(error)}", hint="Try it in onnxruntime yourself."
        ) from error


def run_session(
    session: onnxruntime.InferenceSession,
    names: list[str],
    inputs: Arrays,
    options: onnxruntime.RunOptions | None = None,
) -> Arrays:
    """The outputs called `names`."""
    return {name: np.asarray(value) for name, value in zip(names, session.run(names, inputs, options), strict=True)}


class Runner:
    """Runs batches of any size through a session; a model of fixed batch gets pieces of its own size."""

    def __init__(self, session: onnxruntime.InferenceSession, interface: Interface) -> None:
        self.session, self.interface = session, interface
        self.names = [port.name for port in interface.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """(batch, ...) outputs by name for (batch, ...) inputs by name."""
        count = len(next(iter(inputs.values())))
        size = self.interface.batch or (1 if self.interface.takes_alone(inputs) else count)
        if size == count:
            return self._together(inputs, count)
        pieces = [self._padded(inputs, start, size) for start in range(0, count, size)]
        return {name: np.concatenate([piece[name] for piece in pieces])[:count] for name in self.names}

    def _padded(self, inputs: Arrays, start: int, size: int) -> Arrays:
        """Outputs of `size` samples from `start`; the last sample is repeated to fill the piece."""
        count = len(next(iter(inputs.values())))
        rows = np.minimum(np.arange(start, start + size), count - 1)
        piece = {name: array[rows] for name, array in inputs.items()}
        return self._together(piece, size)

    def _together(self, inputs: Arrays, count: int) -> Arrays:
        found = run_session(self.session, self.names, self.interface.to_file(inputs))
        return self.interface.to_samples(found, count)
