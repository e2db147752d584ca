"""A torch module to ONNX, on the machine of whoever wrote it: its code never travels.

torch has two exporters; neither exports everything, and the one that traces can leave out a branch in silence. So
each is tried in turn, with free axes first, and what comes out is run in onnxruntime, where that is installed, on the
example, on other values and on other sizes, and compared with the module itself. The one that is right is kept.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelpress.export.attempts import Attempt, Export, attempts
from modelpress.export.axes import Axes, asked_axes, batch_axes
from modelpress.export.calling import Call, plain_module
from modelpress.export.comparing import cases_of
from modelpress.problem import ModelError

log = logging.getLogger(__name__)

__all__ = ["Export", "ExportFailed", "export_onnx", "exported"]


class ExportFailed(ModelError):
    code, title = "export_failed", "The module can't be exported to ONNX"


@contextmanager
def exported(module: Any, example_inputs: Any, **options: Any) -> Iterator[Path]:
    """The module as an ONNX file that is gone afterwards, with the options of `export_onnx`; logs how it came about."""
    with tempfile.TemporaryDirectory(prefix="modelpress-") as folder:
        path = Path(folder) / "model.onnx"
        done = export_onnx(module, example_inputs, path, **options)
        log.log(logging.INFO if done.is_certain else logging.WARNING, "exported by %s", done)
        yield path


def export_onnx(
    module: Any,
    example_inputs: Any,
    path: Path,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
    opset: int | None = None,
) -> Export:
    """Export what the module computes in eval mode, on whatever device and in whatever precision it is.

    torch's fast path for transformers is off meanwhile: it computes something else at padded positions.

    Args:
        module: a `torch.nn.Module`; it is left as it was.
        example_inputs: a tensor; a tuple of positional inputs; or a dict of inputs by the names of `forward`'s
            parameters. Inputs may be nested; what is no tensor stays as it is in the file.
        path: of the ONNX file, with external data beside it where it is larger than 2 GB.
        input_names: one for each tensor; left out means the parameters of `forward`, as `state` or `state_0`.
        output_names: one for each tensor; left out means the keys of a dict that `forward` returns, the fields of a
            named tuple or dataclass, else `output` or `output_0`, `output_1`, ...
        dynamic_axes: which axes may have another size, by input: `{"tokens": {0: "batch", 1: "length"}}`. Left out
            means the batch axis, found by calling the module, where the module allows it; `{}` means none.
        opset: of ONNX; left out means the exporter's own choice.

    Returns:
        Which exporter was right, which axes are free, and what the other did wrong.

    Raises:
        RequestInvalid: the module can't be called with these inputs, or has no such inputs or axes.
        ExportFailed: no exporter gave a file that computes what the module does; says why for each.
    """
    with plain_module(module) as module:
        call = Call(module, example_inputs, input_names, output_names)
        steady(call)
        with tempfile.TemporaryDirectory(prefix="modelpress-") as folder:
            done, made = first_right(call, dynamic_axes, opset, Path(folder))
            for file in sorted(made.parent.iterdir()):
                shutil.move(file, path.parent / file.name if file != made else path)
    return done


def first_right(
    call: Call, dynamic_axes: Mapping[str, Any] | None, opset: int | None, folder: Path
) -> tuple[Export, Path]:
    """The first attempt that is right without a doubt, else the first that is right, and where its file is."""
    wrong: dict[str, str] = {}
    doubtful: tuple[Attempt, Path] | None = None
    for number, axes in enumerate(ladder(call, dynamic_axes)):
        cases = cases_of(call, axes)
        for attempt in attempts(call, axes, cases, opset):
            made = folder / f"{number}-{attempt.exporter}" / "model.onnx"
            made.parent.mkdir()
            if fault := attempt.fault(made):
                wrong[attempt.name] = fault
            elif attempt.doubts:
                wrong[attempt.name] = f"it equals the module wherever it was compared, but {attempt.doubts[0]}"
                doubtful = doubtful or (attempt, made)
            else:
                return attempt.export(wrong), made
        if doubtful:
            return doubtful[0].export(wrong), doubtful[1]
    raise ExportFailed("; ".join(f"{name}: {fault}" for name, fault in wrong.items()), hint=hint())


def ladder(call: Call, dynamic_axes: Mapping[str, Any] | None) -> list[Axes]:
    if dynamic_axes is not None:
        return [asked_axes(call, dynamic_axes)]
    free = batch_axes(call)
    return [free, {}] if free else [{}]


def hint() -> str:
    if find_spec("onnxscript") is None:
        return "Install onnxscript: torch's newer exporter needs it."
    return "Change what the reasons name, or export it yourself and upload the .onnx file."


def steady(call: Call) -> None:
    """Refuse a module that gives other outputs at each call, which no file can equal.

    Raises:
        ExportFailed
    """
    first, second = call.run(call.example), call.run(call.example)
    for name, one, other in zip(call.output_names, first, second, strict=True):
        if one.shape != other.shape or not one.allclose(other, rtol=1e-2, atol=1e-3, equal_nan=True):
            raise ExportFailed(
                f"the module gives another {name!r} at each call with the same inputs",
                hint="Take the randomness out of forward: functional dropout needs `training=self.training`.",
            )
