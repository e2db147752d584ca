"""The commands that talk to a service."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from modelpress.architecture import Architecture
from modelpress.cli import tables
from modelpress.cli.wishes import dataset_format, guess_task, preparation, request_fields, written_recipe
from modelpress.client import Client
from modelpress.client.effects import Sync
from modelpress.client.jobs import Job
from modelpress.data import DatasetFormat
from modelpress.resources import Dataset

MODELS = {".onnx", ".safetensors"}
"""Endings of files that are models; others are data."""


def upload(
    files: list[Path],
    name: str | None,
    said: dict[str, str | None],
    resume: str | None,
    as_json: bool,
    known: Architecture | None = None,
) -> None:
    with _client(as_json) as client:
        if resume is not None:
            thing = client.uploads.resume(resume, files[0])
        elif files[0].suffix in MODELS:
            thing = client.models.upload(files[0], name=name, architecture=known)
        else:
            thing = client.datasets.upload(files, name=name, **_how(said))
    _say(thing, as_json, thing.id)


def submit(
    recipe: str,
    model: str,
    train: Sequence[str] | None,
    evaluation: Sequence[str] | None,
    task: str | None,
    said: dict[str, str | None],
    wish: dict[str, Any],
    name: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
    known: Architecture | None = None,
) -> None:
    steps = written_recipe(recipe)
    with _client(as_json) as client:
        learn, judge = _dataset(client, train, said), _dataset(client, evaluation, said)
        labelled = judge or learn
        first = Path((evaluation or train or [""])[0])
        task = task or guess_task(labelled and _format(labelled), first if first.is_file() else None)
        fields = {**request_fields(wish, task), "device": wish["device"], "train": learn, "eval": judge, "name": name}
        if Path(model).is_file():
            model = client.models.upload(model, architecture=known).id
        asked = recipe if steps is None else steps
        if dry_run:
            estimate = client.jobs.estimate(model, asked, **fields)
            _say(estimate, as_json, f"valid; {estimate.queue_position} jobs would go first")
            return
        job = client.jobs.create(model, asked, **fields)
        if wait:
            _follow(job, None, as_json)
        else:
            _say(job, as_json, job.id)


def watch(job_id: str, timeout: float | None, as_json: bool) -> None:
    with _client(as_json) as client:
        _follow(client.jobs.get(job_id), timeout, as_json)


def jobs(state: str | None, limit: int, as_json: bool) -> None:
    with _client(as_json) as client:
        found = list(islice(client.jobs.list(state=state), limit))
    if as_json:
        typer.echo(json.dumps({"data": [job.model_dump(mode="json") for job in found]}, indent=2))
    else:
        tables.show_jobs(found)


def cancel(job_id: str, as_json: bool) -> None:
    with _client(as_json) as client:
        job = client.jobs.get(job_id).cancel()
    _say(job, as_json, f"{job.id} is {job.state}")


def download(job_id: str, out: Path, only: list[str] | None, as_json: bool) -> None:
    with _client(as_json) as client:
        paths = client.jobs.get(job_id).artifacts.download(out, names=only)
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in paths]}, indent=2))
    else:
        typer.echo("\n".join(map(str, paths)))


def _client(as_json: bool) -> Client:
    return Client(progress=False if as_json else None)


def _follow(job: Job[Sync], timeout: float | None, as_json: bool) -> None:
    show = (lambda event: typer.echo(event.model_dump_json())) if as_json else None
    job.wait(timeout, on_event=show)
    if as_json:
        typer.echo(job.model_dump_json())
    elif job.result:
        tables.show_result(job.result)
        typer.echo(f"`modelpress download {job.id} --out FOLDER` fetches the files")


def _say(thing: BaseModel, as_json: bool, words: str) -> None:
    typer.echo(thing.model_dump_json(indent=2) if as_json else words)


def _how(said: dict[str, str | None]) -> dict[str, Any]:
    return {**said, "preparation": preparation(said["preparation"])}


def _dataset(client: Client, named: Sequence[str] | None, said: dict[str, str | None]) -> Dataset | None:
    """The data set with this id, or one made of these files."""
    if not named:
        return None
    if len(named) == 1 and not Path(named[0]).exists():
        return client.datasets.get(named[0])
    files = [Path(path) for path in named]
    dataset_format(files, said)  # what is wrong with the options is said before anything is sent
    return client.datasets.upload(files, **_how(said))


def _format(dataset: Dataset) -> DatasetFormat | None:
    return DatasetFormat.model_validate(dataset.format) if dataset.format else None
