"""The pretrained CIFAR-10 ResNet-20: half its multiply-accumulates, and eight bits beside onnxruntime's own quantiser.

    python -m bench resnet20 FOLDER [EPOCHS]

FOLDER holds `cifar10-resnet20.safetensors`, `cifar10-test.npz` and `cifar10-train-batch1.npz`. Each network is made by
a job of its own (`python -P -m core`); all files are then measured in one run, on the 10,000 test images, which
neither the jobs nor the quantiser saw.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import load_file

from bench.record import keep
from core.data.columns import ArrayColumn
from core.data.samples import Feed, Samples
from core.interface import interface_of
from core.measure.measurer import Measurer, one_sample
from core.quantizers.processor import saturates
from core.zoo.build import from_checkpoint
from modelpress.data import Preparation, Range, Splits
from modelpress.job import DatasetFiles, Job, JobData, Measuring
from modelpress.steps import FilterPruning, Int8Quantization, Recover, Step
from modelpress.task import Classification

EPOCHS = 5.0
LEARNT, CHOSEN = 9000, 1000  # of the training images: for fitting, and for stop rules
CALIBRATED = 512
PREPARATION = Preparation(layout="hwc_to_chw", scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
MEASURING = Measuring(batch_sizes=[1, 32], repeats=100)
WANTED = ("top1", "agreement", "parameters", "macs", "bytes", "speedup_b1", "speedup_b32")


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit("python -m bench resnet20 FOLDER [EPOCHS]")
    source, epochs = Path(arguments[0]), float(arguments[1]) if len(arguments) > 1 else EPOCHS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original, data = pretrained(source, folder), job_data(source, folder)
        recipes: dict[str, list[Step]] = {
            "half the MACs": [
                FilterPruning(macs=0.5),
                Recover(epochs=epochs, augmentation="shift_and_flip", soft_weight=1.0, temperature=4.0),
            ],
            "int8": [Int8Quantization()],
        }
        files, seconds = {"original": original}, {"original": 0.0}
        for label, recipe in recipes.items():
            began = time.perf_counter()
            files[label] = run_job(folder / label.replace(" ", "_"), original, data, recipe)
            seconds[label] = time.perf_counter() - began
        began = time.perf_counter()
        files["onnxruntime int8"] = quantized_by_onnxruntime(original, data, folder)
        seconds["onnxruntime int8"] = time.perf_counter() - began
        keep("resnet20", measured(files, seconds, data, folder))


def pretrained(source: Path, folder: Path) -> Path:
    """The published weights in the zoo's ResNet-20."""
    tensors = load_file(source / "cifar10-resnet20.safetensors")
    model = from_checkpoint("resnet20", tensors, (3, 32, 32), 10)
    onnx.save(model, folder / "original.onnx")
    return folder / "original.onnx"


def job_data(source: Path, folder: Path) -> Path:
    """One file: training images first, then the test images; raw bytes, as they were published."""
    parts = [np.load(source / f"cifar10-{name}.npz", allow_pickle=False) for name in ("train-batch1", "test")]
    arrays = {
        key: np.concatenate([part[kind] for part in parts]) for key, kind in (("input", "images"), ("label", "labels"))
    }
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def run_job(folder: Path, model: Path, data: Path, recipe: list[Step]) -> Path:
    (folder / "inputs").mkdir(parents=True)
    shutil.copy(model, folder / "inputs" / "model.onnx")
    shutil.copy(data, folder / "inputs" / "data.npz")
    splits = Splits(
        train=Range(start=0, stop=LEARNT),
        select=Range(start=LEARNT, stop=LEARNT + CHOSEN),
        test=Range(start=LEARNT + CHOSEN, stop=20_000),
        calibrate=CALIBRATED,
    )
    files = DatasetFiles(format="npz", files=["data.npz"], labels="label", preparation=PREPARATION)
    job = Job(recipe=recipe, task=Classification(), data=JobData(train=files, splits=splits))
    (folder / "job.json").write_text(job.model_dump_json())
    subprocess.run([sys.executable, "-P", "-m", "core", str(folder)], check=True, stdin=subprocess.PIPE)
    return folder / "outputs" / "model.onnx"


def samples_of(data: Path, role: str, start: int, stop: int) -> Samples:
    with np.load(data, allow_pickle=False) as arrays:
        images, labels = arrays["input"], arrays["label"].astype(np.int64)
    feed = Feed(ArrayColumn(images), PREPARATION, np.dtype(np.float32))
    return Samples(role, {"input": feed}, labels, np.arange(start, stop))


def quantized_by_onnxruntime(model: Path, data: Path, folder: Path) -> Path:
    """Its static quantiser as its documentation has it: pre-processed, QDQ, per channel, the same samples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator = samples_of(data, "train", 0, LEARNT).take(CALIBRATED).arrays(32)

        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(self.batches, None)
            return None if found is None else found[0]

    prepared, result = folder / "prepared.onnx", folder / "onnxruntime.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        quant_pre_process(str(model), str(prepared))
        quantize_static(
            str(prepared),
            str(result),
            Reader(),
            QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,  # what it advises on x86; its default of int8 is slower there
            per_channel=True,
            reduce_range=saturates(),
        )
    return result


def measured(
    files: dict[str, Path], seconds: dict[str, float], data: Path, folder: Path
) -> dict[str, dict[str, float]]:
    """Figures by network, each file timed in turn with the original."""
    test = samples_of(data, "test", LEARNT + CHOSEN, 20_000)
    interface = interface_of(onnx.load(files["original"]))
    measurer = Measurer(files["original"], Classification(), MEASURING, one_sample([test], interface), folder)
    figures = {}
    for label, file in files.items():
        found = measurer.quality(file, test) + measurer.costs(file) + measurer.speed(file)
        values = {figure.metric: figure.value for figure in found}
        known = {metric: round(value, 4) for metric in WANTED if (value := values.get(metric)) is not None}
        figures[label] = {**known, "wall time, s": round(seconds[label], 1)}
    return figures
