"""Measures model files one like the other: the original and every candidate, on the file, in onnxruntime."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from core.data.samples import Samples
from core.data.synthetic import concrete_shape
from core.interface import Interface, interface_of
from core.measure.costs import Costs
from core.measure.figures import Figure
from core.measure.footprint import measure_footprint
from core.measure.latency import time_pair
from core.measure.layers import LayerFigures, measure_layers
from core.measure.quality import Reference, measure_quality
from core.measure.runner import RUNTIME_ERRORS, Arrays, Runner, load_model, open_session
from core.network.axes import Axes
from core.wording import message_of
from modelpress.job import Measuring
from modelpress.problem import ModelError
from modelpress.result import Measurement
from modelpress.task import Task


@dataclass
class Measurer:
    """
    Attributes:
        original: file of the original, which everything is compared with.
        sample: inputs of one sample, to find shapes and to time with.
        scratch: folder for what onnxruntime writes.
        axes: where the model's inputs have their samples; on the first axis if left out.
    """

    original: Path
    task: Task
    how: Measuring
    sample: Arrays
    scratch: Path
    axes: Axes | None = None
    reference: Reference = field(init=False)
    session: onnxruntime.InferenceSession = field(init=False)
    interface: Interface = field(init=False)

    def __post_init__(self) -> None:
        proto = onnx.load(self.original)
        self.interface = interface_of(proto, self.axes)
        self.session = load_model(self.original, self.how.threads)
        runner = Runner(self.session, self.interface)
        try:
            runner.run(self.sample)
        except RUNTIME_ERRORS as error:
            raise ModelError(
                f"onnxruntime can't run the model: {message_of(error)}",
                hint="Try it in onnxruntime yourself; where its input shape is free, give data of a shape it takes.",
            ) from error
        self.reference = Reference(runner, self.interface.output(self.task.output).name)

    def quality(self, model: Path, samples: Samples) -> list[Figure]:
        """The task's figures, the main one first, then agreement with the original; empty without samples."""
        if model == self.original:
            return measure_quality(self.task, self.reference.runner, samples, self.reference)
        runner = Runner(open_session(model, self.how.threads), self.interface)
        return measure_quality(self.task, runner, samples, self.reference)

    def costs(self, model: Path) -> list[Figure]:
        """`parameters`, `nonzeros`, `macs` of one sample, `bytes`."""
        counted = Costs(onnx.load(model), self.fed(1), self.scratch, samples=self.interface.batch or 1)
        macs = counted.macs
        return [
            Figure("parameters", counted.parameters),
            Figure("nonzeros", counted.nonzeros),
            Figure("macs", macs),
            Figure("bytes", model.stat().st_size, "bytes"),
        ]

    def speed(self, model: Path) -> list[Figure]:
        """Latency and speed-up at each batch size that was asked for and that the model takes."""
        candidate = self.session if model == self.original else open_session(model, self.how.threads)
        figures = []
        for size in self.batch_sizes:
            try:
                timing = time_pair(self.session, candidate, self.fed(size), self.how.repeats)
            except RUNTIME_ERRORS:  # a declared free batch that only works at 1
                figures.append(Figure(f"latency_ms_b{size}", None, "ms"))
                continue
            figures += timing.own_figures(size) if model == self.original else timing.figures(size)
        return figures

    def footprint(self, model: Path) -> list[Figure]:
        return measure_footprint(model, self.fed(1), self.how.threads)

    def layers(self, model: Path) -> list[LayerFigures]:
        return measure_layers(onnx.load(model), self.fed(1), self.scratch, samples=self.interface.batch or 1)

    def everything(self, model: Path, subject: str, samples: Samples) -> list[Measurement]:
        """All figures of a model but those on the test samples and of its layers."""
        quality = [figure.measurement(subject, samples.role) for figure in self.quality(model, samples)]
        rest = self.costs(model) + self.speed(model) + self.footprint(model)
        return quality + [figure.measurement(subject) for figure in rest]

    @property
    def batch_sizes(self) -> list[int]:
        fixed = self.interface.batch
        return [fixed] if fixed is not None else sorted(set(self.how.batch_sizes))

    def batch(self, size: int) -> Arrays:
        """The sample `size` times over, or as often as the model's fixed batch asks."""
        count = self.interface.batch or size
        return {name: np.repeat(array[:1], count, axis=0) for name, array in self.sample.items()}

    def fed(self, size: int) -> Arrays:
        """`batch` as the file takes it."""
        return self.interface.to_file(self.batch(size))


def one_sample(samples: list[Samples], interface: Interface) -> Arrays:
    """The inputs of the first sample of the first role that has any; zeros where none has."""
    for role in samples:
        for inputs, _ in role.arrays(1):
            return inputs
    return {port.name: np.zeros((1, *concrete_shape(port)), port.dtype) for port in interface.inputs}
