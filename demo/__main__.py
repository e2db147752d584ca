"""`make demo`: a network goes in over HTTP, a smaller one comes out, measured.

Trains a small CNN, starts the service with no settings, and has it prune filters, factor the big layer, recover by
distillation and quantise to eight bits; then opens what came back in plain onnxruntime.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from rich.console import Console

from demo import service, train
from modelpress.cli.tables import show_figures
from modelpress.client import Client, Job
from modelpress.client.effects import Sync
from modelpress.resources import Event
from modelpress.steps import FilterPruning, Int8Quantization, Layers, Recover, SvdFactorisation

OUT = Path("out/demo")
RECIPE = [
    FilterPruning(macs=0.5),
    SvdFactorisation(ratio=0.25, layers=Layers(names=["fc1"])),
    Recover(epochs=10),
    Int8Quantization(),
]
console = Console(highlight=False)


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modelpress-demo-") as folder:
        console.print("[bold]1.[/] Train a small CNN on scikit-learn's digits and export it to ONNX")
        files = train.make(Path(folder))
        console.print(f"   {files.model.stat().st_size:,} bytes, {time.monotonic() - began:.1f} s")
        console.print("[bold]2.[/] Start the service with no settings: SQLite, a local folder, no broker")
        data_dir = Path(folder) / "service"
        data_dir.mkdir()
        with service.running(data_dir) as client:
            console.print(f"   {client.base_url}")
            job = compress(client, files)
            console.print("[bold]5.[/] Fetch what it made")
            shutil.rmtree(OUT, ignore_errors=True)
            for path in job.artifacts.download(OUT):
                console.print(f"   {path}, {path.stat().st_size:,} bytes")
        shutil.copy(files.model, OUT / "original.onnx")
        console.print("[bold]6.[/] Open model.onnx in plain onnxruntime, on images that nothing was trained on")
        compare(files.held_out)
    console.print(f"Done in {time.monotonic() - began:.1f} s; the service is stopped. See {OUT / 'report.html'}")


def compress(client: Client, files: train.Trained) -> Job[Sync]:
    """The finished job."""
    console.print("[bold]3.[/] Upload the model and two data sets")
    preparation = {"scale": train.SCALE}
    model = client.models.upload(files.model)
    learn = client.datasets.upload(files.train, labels="labels", preparation=preparation)
    held_out = client.datasets.upload(files.held_out, labels="labels", preparation=preparation)
    console.print(f"   {model.id}, {learn.id}, {held_out.id}")
    console.print("[bold]4.[/] Prune filters, factor fc1, recover by distillation, quantise to eight bits")
    job = client.jobs.create(
        model,
        RECIPE,
        name="digits",
        train=learn,
        eval=held_out,
        task={"type": "classification"},
        measuring={"batch_sizes": [1, 32]},
    )
    job.wait(on_event=tell)
    assert job.result is not None, "a job that succeeded has a result"
    show_figures(job.result, console)
    return job


def tell(event: Event) -> None:
    """A line a finished step; the bar shows the rest where a person watches."""
    if event.type == "step.finished":
        console.print(f"   step {event.data['step']} {event.data['technique']}: {event.data['seconds']:.1f} s")


def compare(held_out: Path) -> None:
    """Accuracy of both files, and how often they agree."""
    data = np.load(held_out)
    images, labels = (data["input"] * train.SCALE).astype(np.float32), data["labels"]
    answers = {}
    for name in ("original.onnx", "model.onnx"):
        session = ort.InferenceSession(OUT / name, providers=["CPUExecutionProvider"])
        answers[name] = np.asarray(session.run(None, {"input": images})[0]).argmax(1)
        console.print(f"   {name}: {(answers[name] == labels).mean():.2%} of {len(labels)} right")
    console.print(f"   they agree on {(answers['original.onnx'] == answers['model.onnx']).mean():.2%}")


if __name__ == "__main__":
    sys.exit(main())
