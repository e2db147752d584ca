"""Candidates: from a changed network to a file that passed the sound gate and was measured."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.checkpoints import MODEL, NETWORK, Checkpoints, StepState
from core.data.samples import Data
from core.formulas import Masked
from core.gates.parity import relative_error
from core.gates.sound import check_sound
from core.gates.worth import ORIGINAL
from core.measure.measurer import Measurer
from core.measure.runner import Arrays
from core.network.network import Network
from modelpress.result import Candidate, StepRecord

CHECKED_SAMPLES = 8
Say = Callable[[float, str], None]


@dataclass
class Candidates:
    """Makes, checks and measures the candidates of a job."""

    data: Data
    checkpoints: Checkpoints
    measurer: Measurer

    @property
    def samples(self) -> Arrays:
        """A few samples to compare torch and onnxruntime on; of a model of fixed batch, a whole number of batches."""
        size = max(CHECKED_SAMPLES, self.measurer.interface.batch or 1)
        for role in (self.data.calibrate, self.data.select):
            for inputs, _ in role.take(size).arrays(size):
                count = len(next(iter(inputs.values())))
                if count >= (self.measurer.interface.batch or 1):
                    return inputs
        return self.measurer.batch(1)

    def original(self, network: Network, warnings: list[str]) -> StepState:
        """Measure the original and make it the checkpoint that the first step starts from."""
        staging = self.checkpoints.staging(-1)
        network.save(staging / NETWORK)
        parity = relative_error(network, self.measurer.original, self.measurer.interface, self.samples)
        measurements = self.measurer.everything(self.measurer.original, ORIGINAL, self.data.select)
        main = measurements[0].metric if measurements and measurements[0].role else None
        candidate = Candidate(name=ORIGINAL, step=-1, measurements=measurements)
        state = StepState(step=-1, candidate=candidate, warnings=warnings, main_metric=main, parity=parity)
        self.checkpoints.commit(state, staging)
        return state

    def after_step(
        self,
        network: Network,
        index: int,
        record: StepRecord,
        warnings: list[str],
        floor: float,
        before: Candidate,
        say: Say,
    ) -> StepState:
        """Save, read back, export, check, measure, and make it a checkpoint.

        Args:
            floor: relative error between torch and onnxruntime that the original shows.
            before: the candidate that the step started from.

        Raises:
            UnsoundError: the sound gate did not let it pass.
        """
        staging = self.checkpoints.staging(index)
        network.to("cpu").save(staging / NETWORK)
        network = Network.load(staging / NETWORK)
        exported = network.export()
        exported.write(staging / MODEL)
        record.notes += exported.notes
        say(0.3, "checking")
        check_sound(network, staging / MODEL, self.measurer.interface, self.samples, floor)
        say(0.5, "measuring")
        name = f"{index}-{record.technique}"
        candidate = Candidate(name=name, step=index, technique=record.technique)
        candidate.measurements = self.measurer.everything(staging / MODEL, name, self.data.select)
        warnings += growth(before, candidate)
        state = StepState(
            step=index, candidate=candidate, record=record, warnings=warnings, pruned=pruned_weights(network)
        )
        self.checkpoints.commit(state, staging)
        return state

    def skipped(self, index: int, record: StepRecord, warnings: list[str]) -> StepState:
        """Make a step that failed and may be skipped a checkpoint without a network of its own."""
        state = StepState(step=index, record=record, warnings=warnings)
        self.checkpoints.commit(state, self.checkpoints.staging(index))
        return state


def growth(before: Candidate, after: Candidate) -> list[str]:
    """A warning where a step made the file larger."""
    was, now = (next(m.value for m in one.measurements if m.metric == "bytes") or 0 for one in (before, after))
    return [f"{after.technique}: the file grew from {was:.0f} to {now:.0f} bytes"] if now > was else []


def pruned_weights(network: Network) -> int:
    """Weights that masks hold at zero; a formula that several layers share counts once."""
    formulas = [matrix.formula for layer in network.layers() for matrix in layer.matrices()]
    masks = {id(formula): formula for formula in formulas if isinstance(formula, Masked)}
    return sum(int(torch.count_nonzero(~formula.mask)) for formula in masks.values())
