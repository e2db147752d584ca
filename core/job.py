"""A job: folder in, folder out."""

from pathlib import Path

from core.atomic import write_json
from core.clock import Clock
from core.events import Events
from core.hashing import artifact
from modelpress.job import Job
from modelpress.result import Result

FOLDERS = ("cache", "checkpoints", "outputs", "tmp")


def run(folder: Path, job: Job, events: Events, clock: Clock) -> Result:
    """Do what `job.json` says and write `result.json`.

    Raises:
        ProblemError: what went wrong, where, and what to do.
        Stopped: SIGTERM came; the folder holds the checkpoints to go on from.
    """
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    match job.kind:
        case "inspect":
            result = run_inspection(folder, job, events)
        case "verify":
            result = Result(kind="verify", artifacts=[artifact(path) for path in files(folder / "inputs")])
        case "compress":
            result = run_compression(folder, job, events, clock)
    write_json(folder / "result.json", result.model_dump(mode="json"))
    events.progress("done", 1.0)
    return result


def run_compression(folder: Path, job: Job, events: Events, clock: Clock) -> Result:
    from core.compressing import prepare, run_steps  # torch and onnxruntime, which hashing does without
    from core.handover import hand_over

    work = prepare(job, folder, events, clock)
    run_steps(work)
    return hand_over(work)


def run_inspection(folder: Path, job: Job, events: Events) -> Result:
    from core.formats.open import open_network  # torch, which hashing does without
    from core.inspecting import inspect
    from core.measure.runner import load_model

    events.progress("importing", 0.1, "reading the model")
    network = open_network(folder / "inputs" / job.model)
    checked = folder / "tmp" / "original.onnx"
    network.to_onnx(checked)
    load_model(checked)
    events.progress("inspecting", 0.5, "looking at the layers")
    size = sum(path.stat().st_size for path in files(folder / "inputs"))
    found = inspect(network, size, folder / "tmp")
    return Result(kind="inspect", inspection=found.model_dump(mode="json"))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
