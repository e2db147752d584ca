"""`python -m bench.real_models FOLDER [NAME ...]`: networks of public libraries, written to ONNX for `architectures`.

The networks are those of torchvision, timm and transformers, with random weights: nothing is downloaded. It wants an
environment of its own with these three, onnx, onnxscript and onnxruntime; the product needs none of them. Each network
is written by a process of its own within a limit of time, as `NAME.onnx` with its example inputs in `NAME.npz`. What
can't be written, or serves nothing, leaves its reason in `NAME.txt`; what a folder has already is not written again.
"""

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from bench.exported import language, torchvision_models, vision
from bench.exported.subject import Subject
from bench.exported.weights import draw, drawn, settle
from bench.limited import in_time

SECONDS = 150
OPSET = 18
VARIES = 1e-3
"""How much outputs must differ for two inputs, relative to the largest, if the file is to prove anything."""

SUBJECTS: dict[str, Subject] = {**language.SUBJECTS, **vision.SUBJECTS, **torchvision_models.SUBJECTS}


def main(arguments: list[str]) -> None:
    folder, names = Path(arguments[0]), arguments[1:] or list(SUBJECTS)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / f"{name}.onnx").exists() and not (folder / f"{name}.txt").exists():
            began = time.monotonic()
            late = f"not written within {SECONDS} s"
            reason = in_time(SECONDS, lambda name=name: write(folder, name), late, "the process died")
            print(f"{name}: {reason or 'written'}, {time.monotonic() - began:.0f} s", flush=True)
            if reason:
                (folder / f"{name}.txt").write_text(reason)


def write(folder: Path, name: str) -> str:
    """Why the network was not written; nothing if it was."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the exporters talk
    os.dup2(1, 2)
    partial = folder / f".{name}.onnx"
    try:
        torch.manual_seed(0)
        subject = SUBJECTS[name]
        module, inputs = subject.make()
        draw(module.eval())
        if all(len(value) == 1 for value in inputs.values()):  # a detector takes its one image without a batch
            settle(module, inputs)
        inputs = {key: drawn(value) for key, value in inputs.items()}
        export(module, inputs, partial, subject.is_dynamic)
        example = {key: value.numpy() for key, value in inputs.items()}
        reason = fault(partial, example)
        if not reason:
            np.savez(folder / f"{name}.npz", **example)
            partial.rename(folder / f"{name}.onnx")
    except BaseException as error:  # whatever a library raises is its reason
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    partial.unlink(missing_ok=True)
    return reason


def export(module: torch.nn.Module, inputs: dict[str, torch.Tensor], path: Path, is_dynamic: bool) -> None:
    """By the TorchScript exporter, which is fast; by the newer one where that fails."""
    axes = {key: {0: "batch"} for key in inputs} if is_dynamic else None
    arguments = tuple(inputs.values())
    try:
        torch.onnx.export(
            module, arguments, str(path), input_names=list(inputs), dynamic_axes=axes, dynamo=False, opset_version=OPSET
        )
    except Exception as reason:
        try:
            torch.onnx.export(
                module, arguments, str(path), input_names=list(inputs), dynamo=True, verbose=False, external_data=False
            )
        except Exception as error:
            raise error from reason


def fault(path: Path, example: dict[str, np.ndarray]) -> str:
    """Why the file proves nothing: it does not run, or an output is not finite or the same for another input."""
    onnx.checker.check_model(str(path))
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    example = {value.name: example[value.name] for value in session.get_inputs()}
    first = session.run(None, example)
    second = session.run(None, {key: drawn(torch.from_numpy(value)).numpy() for key, value in example.items()})
    names = [value.name for value in session.get_outputs()]
    for name, a, b in zip(names, first, second, strict=True):
        if not np.isfinite(a).all():
            return f"output {name} is not finite"
        if a.shape == b.shape and (a.size == 0 or np.abs(a - b).max() <= VARIES * np.abs(a).max()):
            return f"output {name} does not vary with the input"
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
