"""`run` and `inspect`: the computation on this machine."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from modelpress import local
from modelpress.architecture import Architecture
from modelpress.cli import tables
from modelpress.cli.inspected import show_inspection
from modelpress.cli.wishes import DEVICES, built_in_recipe, dataset_format, guess_task, request_fields, written_recipe
from modelpress.job import Job
from modelpress.problem import Conflict, RequestInvalid
from modelpress.progress import Bar, Bars
from modelpress.result import Result
from modelpress.validation import parse_request


def compress(
    recipe: str,
    model: Path,
    out: Path,
    train: Sequence[str] | None,
    evaluation: Sequence[str] | None,
    task: str | None,
    said: dict[str, str | None],
    wish: dict[str, Any],
    keep: Path | None,
    as_json: bool,
    known: Architecture | None = None,
) -> None:
    local.require_core()
    steps = written_recipe(recipe)
    steps = built_in_recipe(recipe) if steps is None else steps
    learn, judge = _data(train, said), _data(evaluation, said)
    labelled = judge or learn
    task = task or guess_task(labelled and labelled.format, labelled and labelled.files[0])
    fields = {**request_fields(wish, task), "device": _device(wish["device"])}
    job = parse_request(Job, {**fields, "recipe": [step.model_dump() for step in steps]})
    with _job_folder(keep) as folder:
        local.prepare(folder, job, model, learn, judge, known)
        result = _run(folder, model.name, as_json)
        kept = local.keep_outputs(folder, out)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        tables.show_result(result)
        typer.echo(f"{', '.join(path.name for path in kept)} in {out}")


def inspect(model: Path, as_json: bool, known: Architecture | None = None) -> None:
    local.require_core()
    with _job_folder(None) as folder:
        local.prepare(folder, Job(kind="inspect", device=["cpu"]), model, architecture=known)
        inspection = local.inspection_of(_run(folder, model.name, as_json))
    if as_json:
        typer.echo(inspection.model_dump_json(indent=2))
    else:
        show_inspection(inspection, model.name)


def _data(paths: Sequence[str] | None, said: dict[str, str | None]) -> local.LocalData | None:
    files = [Path(path) for path in paths or []]
    return local.LocalData(files, dataset_format(files, said)) if files else None


def _device(name: str) -> list[str]:
    if name not in DEVICES:
        raise RequestInvalid(f"--device is auto, cpu or cuda, not {name!r}")
    return DEVICES[name]


@contextmanager
def _job_folder(keep: Path | None) -> Iterator[Path]:
    """A folder that is not there yet; removed afterwards unless it is to be kept."""
    if keep is not None:
        if keep.exists():
            raise Conflict(f"{keep} is already there", hint="Name a folder that is not there yet.")
        yield keep.absolute()
        return
    root = Path(tempfile.mkdtemp(prefix="modelpress-"))
    try:
        yield root / "job"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _run(folder: Path, title: str, as_json: bool) -> Result:
    with Bars(False if as_json else None).fraction(title) as bar:
        return local.run(folder, lambda event: _show(event, bar))


def _show(event: Any, bar: Bar) -> None:
    if event.type == "progress":
        bar.update(event.fraction, ": ".join(filter(None, (event.phase, event.message))))
