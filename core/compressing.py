"""A compression job: import, measure, one step after the other, hand over. Every finished step is a checkpoint."""

import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import torch

from core.candidates import Candidates
from core.checkpoints import Checkpoints, StepState
from core.clock import Clock
from core.context import Context
from core.data.load import load_data
from core.data.samples import Data
from core.decisions import Decisions
from core.events import Events
from core.formats.open import open_network
from core.gates.worth import has_limits, is_judged, limits_broken
from core.inspecting import check_step
from core.interface import interface_of
from core.measure.measurer import Measurer, one_sample
from core.memory import is_out_of_memory
from core.network.network import Network
from core.seeds import be_deterministic, seed_step
from core.techniques.registry import find
from core.wording import message_of
from modelpress.job import Job
from modelpress.problem import OutOfTime, ProblemError, StepError, Unavailable
from modelpress.result import Candidate, StepRecord
from modelpress.steps import Step

PREPARED, STEPPED = 0.08, 0.92  # of the whole job, once prepared and once all steps are done
HEAVY = {"recover": 5.0, "distill.student": 8.0, "filters.depthwise_separable": 3.0}  # against 1 for other steps


@dataclass
class Run:
    """All that a compression job holds once it is prepared."""

    job: Job
    folder: Path
    events: Events
    clock: Clock
    device: torch.device
    network: Network
    data: Data
    measurer: Measurer
    checkpoints: Checkpoints
    candidates: Candidates
    decisions: Decisions
    states: list[StepState] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Of the whole run; those of a step are in its state."""

    @property
    def original(self) -> Candidate:
        assert self.states[0].candidate is not None
        return self.states[0].candidate

    @property
    def main_metric(self) -> str | None:
        return self.states[0].main_metric


def prepare(job: Job, folder: Path, events: Events, clock: Clock) -> Run:
    """Read the model and the data and measure the original, or find that done.

    Raises:
        ModelError, DataError: or a subclass.
    """
    device = choose_device(job)
    be_deterministic(device)
    events.progress("importing", 0.01, "reading the model")
    network = open_network(folder / "inputs" / job.model)
    for index, step in enumerate(job.recipe):
        if step.on_failure != "skip":
            check_step(step, index, network)
        if step.technique == "distill.student":
            break  # what follows works on another network
    scratch = folder / "tmp"
    original = scratch / "original.onnx"
    network.to_onnx(original)
    axes = network.sample_axes()
    interface = interface_of(network.source, axes)
    events.progress("importing", 0.02, "reading the data")
    data, warnings = load_data(job.data, folder / "inputs", scratch, interface, job.task, job.seed)
    measurer = Measurer(original, job.task, job.measuring, one_sample(data.roles, interface), scratch, axes)
    checkpoints = Checkpoints(folder / "checkpoints", job)
    run = Run(
        job,
        folder,
        events,
        clock,
        device,
        network,
        data,
        measurer,
        checkpoints,
        Candidates(data, checkpoints, measurer),
        Decisions(checkpoints.folder / "decisions.json"),
    )
    events.progress("measuring", 0.04, "measuring the original")
    run.states.append(checkpoints.find(-1) or run.candidates.original(network, [*network.notes, *warnings]))
    for text in run.states[0].warnings:
        events.warning("job", text)
    tell_metrics(run, run.states[0])
    return run


def choose_device(job: Job) -> torch.device:
    """The first device class of the job that this machine has. Raises Unavailable."""
    for wanted in job.device:
        if wanted == "cpu" or torch.cuda.is_available():
            return torch.device(wanted)
    raise Unavailable(f"none of {', '.join(job.device)} is to be had here", hint="Allow `cpu`, or run where a GPU is.")


def run_steps(run: Run) -> None:
    """All steps that are not done yet, in order. Out of time, what was reached stays in `run.states`.

    Raises:
        ProblemError: a step failed that may not be skipped.
        OutOfTime: before the first step was done.
    """
    for index, step in enumerate(run.job.recipe):
        done = run.checkpoints.find(index)
        try:
            run.states.append(done or run_step(run, index, step))
        except OutOfTime as error:
            if all(state.candidate is None for state in run.states[1:]):
                raise
            run.warnings.append(
                f"out of time in step {index} ({step.technique}): the best network so far is handed over"
            )
            run.events.warning(error.code, run.warnings[-1])
            return


def run_step(run: Run, index: int, step: Step) -> StepState:
    """One step from the last checkpoint to the next."""
    run.clock.check()
    run.events.step_started(index, step.technique)
    began = time.monotonic()
    record = StepRecord(index=index, technique=step.technique, status="done", seconds=0.0)
    warnings: list[str] = []
    try:
        state = attempt(run, index, step, record, warnings)
    except OutOfTime:
        raise
    except Exception as error:
        failure = as_problem(error, index, step)
        if step.on_failure != "skip" or is_out_of_memory(error):
            raise failure from (error if failure is not error else error.__cause__)
        record.status, record.reason = "skipped", failure.detail
        warnings.append(f"left out: {failure.detail}")
        run.events.warning("step_skipped", failure.detail)
        record.seconds = time.monotonic() - began
        state = run.candidates.skipped(index, record, warnings)
    for note in record.notes:
        run.events.note(index, step.technique, note)
    run.events.step_finished(index, step.technique, record.status, record.seconds)
    tell_metrics(run, state)
    return state


def attempt(run: Run, index: int, step: Step, record: StepRecord, warnings: list[str]) -> StepState:
    """The technique on the network as it lies on disk, then the gates' and the measurer's part."""
    began = time.monotonic()
    ctx = context(run, index, step, warnings)
    network = run.checkpoints.network().to(run.device)
    check_step(step, index, network)
    ctx.progress(0.0)
    find(step)(network, step, ctx)
    run.clock.check()
    record.notes, record.seconds = ctx.notes, time.monotonic() - began
    floor = run.states[0].parity
    say = span(run, index, step, 0.8, 1.0)
    before = next(state.candidate for state in reversed(run.states) if state.candidate is not None)
    told = len(warnings)
    state = run.candidates.after_step(network, index, record, warnings, floor, before, say)
    for text in warnings[told:]:
        run.events.warning("file_grew", text)
    return state


def context(run: Run, index: int, step: Step, warnings: list[str]) -> Context:
    def tell(code: str, message: str) -> None:
        warnings.append(message)
        run.events.warning(code, message)

    original = run.network.copy().to(run.device)
    for parameter in original.graph.parameters():
        parameter.requires_grad_(False)
    return Context(
        data=run.data.without_test(),
        task=run.job.task,
        original=original,
        device=run.device,
        generator=seed_step(run.job.seed, index),
        folder=run.checkpoints.work(index),
        step=index,
        clock=run.clock,
        decisions=run.decisions,
        say=span(run, index, step, 0.0, 0.8),
        tell=tell,
    )


class span:  # noqa: N801  called like a function
    """Progress of a part of a step as progress of the job; steps that train weigh more than others."""

    def __init__(self, run: Run, index: int, step: Step, start: float, stop: float) -> None:
        weights = [HEAVY.get(other.technique, 1.0) for other in run.job.recipe]
        share = (STEPPED - PREPARED) / sum(weights)
        begin = PREPARED + share * sum(weights[:index])
        self.run, self.index, self.step = run, index, step
        self.start = begin + share * weights[index] * start
        self.length = share * weights[index] * (stop - start)

    def __call__(self, fraction: float, message: str) -> None:
        text = f"{self.step.technique}: {message}" if message else self.step.technique
        self.run.events.progress(
            "compressing", self.start + self.length * min(max(fraction, 0.0), 1.0), text, self.index
        )


def as_problem(error: Exception, index: int, step: Step) -> ProblemError:
    """The error with the step it happened in; what no code of ours raised is told by its type."""
    place = f"step {index} ({step.technique})"
    if isinstance(error, ProblemError):
        error.detail = f"{place}: {error.detail or error.title}"
        error.args = (error.detail,)
        return error
    traceback.print_exception(error)  # into the job's log
    return StepError(f"{place}: {type(error).__name__}: {message_of(error)}")


def tell_metrics(run: Run, state: StepState) -> None:
    if state.candidate is not None:
        for measurement in state.candidate.measurements:
            run.events.metric(measurement)


def judge(run: Run) -> set[str]:
    """The worth gate: mark the candidates that stand where a recipe is judged; returns their names."""
    made = [state for state in run.states[1:] if state.candidate is not None]
    judged = set()
    for state in made:
        candidate = state.candidate
        assert candidate is not None
        if not is_judged(candidate.technique or "", state is made[-1]):
            continue
        judged.add(candidate.name)
        if has_limits(run.job.target):
            candidate.outside = limits_broken(run.job.target, candidate, run.original, run.main_metric)
            candidate.inside_limits = not candidate.outside
    return judged
