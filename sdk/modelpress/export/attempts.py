"""torch's two exporters, each with what is to be known of it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from modelpress.export.axes import Axes
from modelpress.export.calling import Call
from modelpress.export.comparing import Case, can_compare, check

torch: Any = import_module("torch")

MOST_INLINE = 1_900_000_000
"""Bytes of weights in one file: a protobuf takes 2 GiB."""


@dataclass(frozen=True)
class Export:
    """How a file came about.

    Attributes:
        exporter: `tracing` (torch.onnx.export with dynamo=False) or `symbolic` (with dynamo=True).
        axes: the free axes by input and what they are called.
        compared: on what the file and the module were compared; empty where onnxruntime is not installed.
        failures: by attempt that came before, what was wrong with it.
        doubts: branches of which the trace followed one, where no other exporter was right.
    """

    exporter: str
    axes: Axes
    compared: Sequence[str]
    failures: Mapping[str, str]
    doubts: Sequence[str]

    @property
    def is_certain(self) -> bool:
        """Whether it was compared with the module and nothing tells against it."""
        return bool(self.compared) and not self.doubts

    def __str__(self) -> str:
        said = [f"{self.exporter}, {_free(self.axes)}"]
        said.append(f"compared on {', '.join(self.compared)}" if self.compared else "not compared: no onnxruntime here")
        said += [f"{name}: {fault}" for name, fault in self.failures.items()]
        return "; ".join(said)


@dataclass
class Attempt:
    exporter: str
    call: Call
    axes: Axes
    cases: Sequence[Case]
    opset: int | None
    doubts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.exporter}, {_free(self.axes)}"

    def fault(self, path: Path) -> str:
        """Export to `path` and compare; what went wrong, or nothing."""
        try:
            with _quiet() as caught, torch.no_grad():
                EXPORTERS[self.exporter](self, path)
            self.doubts = [_branch(warning) for warning in caught if _is_branch(warning)]
            if can_compare():
                check(path, self.call, self.cases)
        except Exception as error:  # exporters raise anything
            return _reason(error)
        return ""

    def export(self, failures: Mapping[str, str]) -> Export:
        compared = [case.what for case in self.cases] if can_compare() else []
        return Export(self.exporter, self.axes, compared, dict(failures), self.doubts)


def attempts(call: Call, axes: Axes, cases: Sequence[Case], opset: int | None) -> Iterator[Attempt]:
    """Tracing keeps batch norms apart and is quick, but is to be trusted only where it can be checked."""
    for exporter in ("tracing", "symbolic") if can_compare() else ("symbolic", "tracing"):
        yield Attempt(exporter, call, axes, cases, opset)


def trace(attempt: Attempt, path: Path) -> None:
    call, onnx = attempt.call, import_module("torch.onnx")
    onnx.export(
        call.module,
        call.example,
        str(path),
        dynamo=False,
        input_names=call.input_names,
        output_names=call.output_names,
        dynamic_axes={**attempt.axes, **output_axes(call.output_names, attempt.cases)},
        training=onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=attempt.opset,
    )


def symbolic(attempt: Attempt, path: Path) -> None:
    if find_spec("onnxscript") is None:
        raise ImportError("torch's newer exporter needs onnxscript, which is not installed")
    call = attempt.call
    program = import_module("torch.onnx").export(
        call.module,
        _without_ones(attempt.cases),
        str(path),
        dynamo=True,
        input_names=call.input_names,
        output_names=call.output_names,
        dynamic_shapes=(tuple(attempt.axes.get(name, {}) for name in call.input_names),) if attempt.axes else None,
        external_data=_weight_bytes(call.module) > MOST_INLINE,
        verbose=False,
        opset_version=attempt.opset,
    )
    if attempt.opset not in (None, written := program.model.opset_imports.get("")):
        raise ValueError(f"it can't write opset {attempt.opset}, only {written}")


EXPORTERS = {"tracing": trace, "symbolic": symbolic}


def output_axes(names: Sequence[str], cases: Sequence[Case]) -> Axes:
    """The axes of outputs that were not of one size, called as the input's axis that has the same sizes."""
    axes: Axes = {}
    first = cases[0]
    for case in cases[1:]:
        labels = {(first.sizes[label], size): label for label, size in case.sizes.items() if size != first.sizes[label]}
        for name, here, there in zip(names, first.outputs, case.outputs, strict=True):
            pairs = zip(here.shape, there.shape, strict=False)
            changed = {
                axis: labels.get(pair, f"{name}_{axis}") for axis, pair in enumerate(pairs) if pair[0] != pair[1]
            }
            axes[name] = {**changed, **axes.get(name, {})}
    return {name: changed for name, changed in axes.items() if changed}


def _without_ones(cases: Sequence[Case]) -> tuple[Any, ...]:
    """Inputs whose free axes are all longer than one, which the exporter would take for a constant."""
    return tuple(next((case for case in cases if 1 not in case.sizes.values()), cases[0]).inputs)


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Catch what the exporters warn of, and keep what they print and log of themselves off the caller's screen."""
    handlers = _log_handlers()
    for handler in handlers:
        handler.addFilter(_nothing)
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("always")
            yield caught
    finally:
        for handler in handlers:
            handler.removeFilter(_nothing)


def _log_handlers() -> set[logging.Handler]:
    """Torch's own, of its many loggers; those that the caller gave to the root still hear them."""
    known = logging.root.manager.loggerDict.items()
    loggers = [log for name, log in known if name.partition(".")[0] == "torch" and isinstance(log, logging.Logger)]
    return {handler for log in loggers for handler in log.handlers}


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _reason(error: BaseException) -> str:
    """The innermost cause's first words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _is_branch(warning: warnings.WarningMessage) -> bool:
    """Whether the trace followed a branch in the user's own code."""
    own = not Path(warning.filename).is_relative_to(Path(torch.__file__).parent)
    return own and issubclass(warning.category, torch.jit.TracerWarning) and "Python boolean" in str(warning.message)


def _branch(warning: warnings.WarningMessage) -> str:
    return f"it follows one way of the branch at {Path(warning.filename).name}, line {warning.lineno}"


def _weight_bytes(module: Any) -> int:
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in module.state_dict().values()}.values())


def _free(axes: Axes) -> str:
    labels = dict.fromkeys(label for names in axes.values() for label in names.values())
    return f"{' and '.join(labels)} free" if labels else "every size fixed"
