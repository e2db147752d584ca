"""A torch module to ONNX, on the machine of whoever wrote it: its code never travels.

torch has two exporters; neither exports everything, and the one that traces can leave out a branch in silence. So
each is tried in turn, with a free batch axis first, and what comes out is run in onnxruntime, where that is
installed, on the example and on a batch of another size, and compared with the module itself.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelpress.problem import ModelError, RequestInvalid

TOLERANCE = 1e-4
"""Largest difference, against the largest output or 1."""


class ExportFailed(ModelError):
    code, title = "export_failed", "The module can't be exported to ONNX"


@contextmanager
def exported(module: Any, example_inputs: Any) -> Iterator[Path]:
    """The module as an ONNX file that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="modelpress-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(module, example_inputs, path)
        yield path


def export_onnx(
    module: Any,
    example_inputs: Any,
    path: Path,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> str:
    """Export in eval mode, the batch axis (the first of every input) free where the module allows it.

    Args:
        module: a `torch.nn.Module`; its mode is left as it was.
        example_inputs: a tensor, or a tuple of tensors, batch axis first.
        path: of the ONNX file, with external data beside it where it is larger than 2 GB.
        input_names: left out means `input`, or `input_0`, `input_1`, ...
        output_names: left out means `output`, or `output_0`, `output_1`, ...

    Returns:
        What was done, in words.

    Raises:
        ExportFailed: no exporter gave a file that computes what the module does; says why for each.
    """
    torch = import_module("torch")
    if not isinstance(module, torch.nn.Module):
        raise RequestInvalid(f"expected a path or a torch.nn.Module, not {type(module).__name__}")
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not inputs or not all(isinstance(tensor, torch.Tensor) and tensor.dim() > 0 for tensor in inputs):
        raise RequestInvalid("`example_inputs` must be a tensor, or a tuple of tensors, batch axis first")
    with _in_eval_mode(module), torch.no_grad():
        names = input_names or _names("input", len(inputs)), output_names or _names("output", len(_run(module, inputs)))
        return _first_right(module, inputs, path, *names)


def _first_right(
    module: Any, inputs: tuple, path: Path, input_names: Sequence[str], output_names: Sequence[str]
) -> str:
    failures = []
    for free in (True, False):
        for exporter in _exporters():
            what = f"{exporter.__name__.strip('_')}, batch axis {'free' if free else 'fixed'}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    exporter(module, _at_least_two(inputs) if free else inputs, path, input_names, output_names, free)
                _compare(module, inputs, path, free)
            except Exception as error:  # exporters raise anything
                failures.append(f"{what}: {' '.join(str(error).split())[:300]}")
            else:
                return what
    path.unlink(missing_ok=True)
    raise ExportFailed("; ".join(failures), hint="Export it yourself and upload the .onnx file.")


def _exporters() -> list[Callable[..., None]]:
    """Tracing keeps batch norms apart and is quick, but is to be trusted only where it can be checked."""
    return [_tracing, _symbolic] if find_spec("onnxruntime") else [_symbolic, _tracing]


def _tracing(
    module: Any, inputs: tuple, path: Path, input_names: Sequence[str], output_names: Sequence[str], free: bool
) -> None:
    onnx = import_module("torch.onnx")
    onnx.export(
        module,
        inputs,
        str(path),
        dynamo=False,
        input_names=list(input_names),
        output_names=list(output_names),
        dynamic_axes={name: {0: "batch"} for name in [*input_names, *output_names]} if free else None,
        training=onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )


def _symbolic(
    module: Any, inputs: tuple, path: Path, input_names: Sequence[str], output_names: Sequence[str], free: bool
) -> None:
    torch = import_module("torch")
    import_module("torch.onnx").export(
        module,
        inputs,
        str(path),
        dynamo=True,
        input_names=list(input_names),
        output_names=list(output_names),
        dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs) if free else None,
        external_data=False,
        verbose=False,
    )


def _compare(module: Any, inputs: tuple, path: Path, free: bool) -> None:
    """Raise ValueError where onnxruntime computes something else than the module."""
    if not find_spec("onnxruntime"):
        return
    session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch in [inputs, _larger(inputs)] if free else [inputs]:
        feed = {meta.name: tensor.cpu().numpy() for meta, tensor in zip(session.get_inputs(), batch, strict=True)}
        for expected, came in zip(_run(module, batch), session.run(None, feed), strict=True):
            expected = expected.cpu().numpy()
            if expected.shape != came.shape:
                raise ValueError(f"an output has shape {came.shape}, not {expected.shape}")
            difference = float(abs(expected - came).max()) if expected.size else 0.0
            if not difference <= TOLERANCE * max(1.0, float(abs(expected).max(initial=0.0))):
                raise ValueError(f"an output differs by {difference:.3g}")


def _run(module: Any, inputs: tuple) -> list[Any]:
    flat, _ = import_module("torch.utils._pytree").tree_flatten(module(*inputs))
    return flat


def _at_least_two(inputs: tuple) -> tuple:
    """A batch of one would be taken for a constant."""
    return _larger(inputs) if any(tensor.shape[0] == 1 for tensor in inputs) else inputs


def _larger(inputs: tuple) -> tuple:
    """One sample more, and other values where they are real numbers."""
    torch = import_module("torch")
    random = torch.Generator().manual_seed(0)
    grown = (torch.cat([tensor, tensor[:1]]) for tensor in inputs)
    return tuple(
        tensor + torch.randn(tensor.shape, generator=random).to(tensor) * tensor.std().clamp(min=0.1)
        if tensor.is_floating_point()
        else tensor
        for tensor in grown
    )


@contextmanager
def _in_eval_mode(module: Any) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _names(stem: str, count: int) -> list[str]:
    return [stem] if count == 1 else [f"{stem}_{number}" for number in range(count)]
