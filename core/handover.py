"""The end of a compression job: the best network, the final figures, the outputs, the result."""

from pathlib import Path

from core.atomic import copy_file, write_json, write_text
from core.compressing import Run, judge
from core.data.samples import Samples
from core.gates.worth import ORIGINAL, choose_best, find, has_limits, value_of
from core.hashing import artifact
from core.measure.environment import environment
from core.measure.layers import LayerFigures
from core.measure.survey import survey
from core.report.page import render
from core.report.report import Report
from modelpress.recipe import write_recipe
from modelpress.result import Artifact, Candidate, DataUse, Measurement, Result, StepRecord, Survey

USES = {
    "train": "fitting",
    "calibrate": "ranges and statistics; part of train",
    "select": "figures of every candidate, stop rules, limits, the choice of the best",
    "test": "the final figures of the original and the best, measured once",
}


def hand_over(run: Run) -> Result:
    """Choose, measure on the test samples, write `outputs/`."""
    run.events.progress("exporting", 0.93, "choosing the best")
    judged = judge(run)
    candidates = [state.candidate for state in run.states if state.candidate is not None]
    best = choose_best(run.job.target, candidates, judged, run.main_metric)
    warn_of_choice(run, best)
    run.events.progress("measuring", 0.94, "the final figures")
    layers = {c.name: final_figures(run, c) for c in distinct(run.original, best)}
    result = Result(
        candidates=candidates,
        best=best.name,
        survey=survey_of(run, best),
        steps=records(run),
        data=data_use(run),
        decisions=run.decisions.all(),
        environment=environment(run.device, run.job.measuring.threads),
        warnings=[*(text for state in run.states for text in state.warnings), *run.warnings],
    )
    run.events.progress("exporting", 0.98, "writing the report")
    result.artifacts = write_outputs(run, best, Report(run.job, result, layers, run.main_metric, run.data.is_synthetic))
    return result


def warn_of_choice(run: Run, best: Candidate) -> None:
    if best.name == ORIGINAL and run.job.recipe and (has_limits(run.job.target) or run.job.target.objective):
        run.warnings.append("no candidate is inside the limits: the original is handed over, the candidates beside it")
        run.events.warning("outside_limits", run.warnings[-1])


def distinct(original: Candidate, best: Candidate) -> list[Candidate]:
    return [original] if best.name == original.name else [original, best]


def model_of(run: Run, candidate: Candidate) -> Path:
    return run.measurer.original if candidate.name == ORIGINAL else run.checkpoints.model(candidate.step)


def final_figures(run: Run, candidate: Candidate) -> list[LayerFigures]:
    """Add the figures on the test samples and those of the layers to the candidate's."""
    model, test = model_of(run, candidate), run.data.test
    figures = [figure.measurement(candidate.name, test.role) for figure in run.measurer.quality(model, test)]
    candidate.measurements += figures
    layers = run.measurer.layers(model)
    candidate.measurements += [m for layer in layers for m in layer_measurements(candidate.name, layer)]
    for measurement in figures:
        run.events.metric(measurement)
    return layers


def layer_measurements(subject: str, layer: LayerFigures) -> list[Measurement]:
    place = f"{subject}:{layer.name}"
    told = [
        Measurement(subject=place, metric="parameters", value=layer.parameters),
        Measurement(subject=place, metric="nonzeros", value=layer.nonzeros),
        Measurement(subject=place, metric="macs", value=layer.macs),
    ]
    return [*told, Measurement(subject=place, metric="latency_ms", value=layer.milliseconds, unit="ms")]


def survey_of(run: Run, best: Candidate) -> Survey:
    """The survey's figures of the best; weights that a mask holds at zero are not kept."""
    pruned = next(state.pruned for state in run.states if state.candidate is best)
    before, after = value_of(run.original, "parameters"), value_of(best, "parameters")
    speedup = find(best, "speedup_b")
    kept = None if after is None else int(after) - pruned
    return survey(None if before is None else int(before), kept, speedup.value if speedup else None)


def records(run: Run) -> list[StepRecord]:
    """What became of every step of the recipe, those that were not reached included."""
    done = {state.step: state.record for state in run.states if state.record is not None}
    missing = [
        StepRecord(index=index, technique=step.technique, status="not_run", seconds=0.0, reason="out of time")
        for index, step in enumerate(run.job.recipe)
        if index not in done
    ]
    return [done[index] for index in sorted(done)] + missing


def data_use(run: Run) -> list[DataUse]:
    def use(samples: Samples) -> DataUse:
        return DataUse(role=samples.role, dataset=samples.dataset, samples=len(samples), used_for=USES[samples.role])

    return [use(samples) for samples in run.data.roles]


def write_outputs(run: Run, best: Candidate, report: Report) -> list[Artifact]:
    """`model.onnx`, every candidate, the report twice, the recipe. The list of them goes into the result."""
    folder = run.folder / "outputs"
    folder.mkdir(exist_ok=True)
    for leftover in folder.iterdir():
        leftover.unlink()
    copy_model(model_of(run, best), folder / "model.onnx")
    for candidate in report.result.candidates[1:]:
        copy_model(model_of(run, candidate), folder / f"candidate-{candidate.name}.onnx")
    write_text(folder / "recipe.yaml", write_recipe(list(run.job.recipe)))
    write_json(folder / "report.json", report.as_json())
    write_text(folder / "report.html", render(report))
    return [artifact(path) for path in sorted(folder.iterdir())]


def copy_model(source: Path, target: Path) -> None:
    """The file, and beside it the weights of a model beyond 2 GiB under the name by which it refers to them."""
    copy_file(source, target)
    beside = source.with_name(source.name + ".data")
    if beside.exists():
        copy_file(beside, target.with_name(beside.name))
