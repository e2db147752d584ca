"""The commands' shapes. Each body imports its work, so that help needs neither httpx, the steps nor torch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from modelpress.cli import exits

app = typer.Typer(
    name="modelpress",
    help="Smaller, faster networks, with the measurements that prove it.",
    epilog=exits.DESCRIPTION,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[
    bool, typer.Option("--json", help="JSON on stdout; a failure too, as a problem with code, detail and hint.")
]
RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A file (YAML or JSON), the name of a built-in recipe, or JSON itself.")
]
LocalModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="An .onnx file, external data beside it; or a .safetensors file and --architecture."
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option(
        help="The network of the zoo whose weights a .safetensors file holds: its name, or JSON that says more."
    ),
]
InputShape = Annotated[
    str | None, typer.Option(help="With --architecture: one sample, as 3,32,32; left out means the paper's size.")
]
Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train", help="Data to learn from and, without --eval, to measure on. Twice for idx: images, labels."
    ),
]
Eval = Annotated[list[str] | None, typer.Option("--eval", help="Data to measure on.")]
Labels = Annotated[str | None, typer.Option(help="For npz: name of the array of labels.")]
Format = Annotated[str | None, typer.Option(help="npz, images, idx or cifar; left out means what the file name says.")]
InputName = Annotated[str | None, typer.Option("--input", help="The model's input that images feed.")]
Preparation = Annotated[
    str | None, typer.Option(help="From raw values to the model's input: JSON, or a file of JSON or YAML.")
]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="classification, regression or match; left out means what the labels say."),
]
Seed = Annotated[int, typer.Option(help="Same seed, data and device class: same network.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Objective = Annotated[
    str | None, typer.Option(help="What the best candidate has least of: latency, size, macs, metric.")
]
MaxDrop = Annotated[float | None, typer.Option(help="Most the main metric may get worse, in its own unit.")]
Batches = Annotated[
    list[int] | None, typer.Option("--batch-size", help="Batch size to time; may be given several times.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for what was made; made if it is missing.")]


@app.command(epilog=exits.DESCRIPTION)
def run(
    recipe: RecipeArgument,
    model: LocalModel,
    out: Out,
    train: Train = None,
    eval: Eval = None,
    labels: Labels = None,
    task: TaskName = None,
    format: Format = None,
    input: InputName = None,
    preparation: Preparation = None,
    seed: Seed = 0,
    device: Device = "auto",
    objective: Objective = None,
    max_drop: MaxDrop = None,
    batch_size: Batches = None,
    architecture: Architecture = None,
    input_shape: InputShape = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the job folder here, to look at or to run again.")] = None,
    json: Json = False,
) -> None:
    """Compress a model on this machine, without any service.

    Leaves model.onnx, result.json, report.html, report.json and recipe.yaml in the --out folder. With --json the
    result goes to stdout too.
    """
    from modelpress.cli.compute import compress
    from modelpress.cli.wishes import architecture as read

    data = {"labels": labels, "format": format, "input": input, "preparation": preparation}
    wish = {"seed": seed, "device": device, "objective": objective, "max_drop": max_drop, "batch_sizes": batch_size}
    known = read(architecture, input_shape)
    compress(recipe, model, out, train, eval, task, data, wish, keep, json, known)


@app.command(epilog=exits.DESCRIPTION)
def inspect(
    model: LocalModel, architecture: Architecture = None, input_shape: InputShape = None, json: Json = False
) -> None:
    """Show a model's inputs, outputs, operators, layers and costs, on this machine, without any service."""
    from modelpress.cli.compute import inspect as work
    from modelpress.cli.wishes import architecture as read

    work(model, json, read(architecture, input_shape))


@app.command(epilog=exits.DESCRIPTION)
def techniques(
    name: Annotated[str | None, typer.Argument(help="A technique, for its fields.")] = None, json: Json = False
) -> None:
    """List the techniques, or the fields of one."""
    from modelpress.cli.techniques import show

    show(name, json)


@app.command(epilog=exits.DESCRIPTION)
def upload(
    files: Annotated[list[Path], typer.Argument(help="A model (.onnx, .safetensors), or the files of a data set.")],
    name: Annotated[str | None, typer.Option(help="For people; left out means the file's name.")] = None,
    labels: Labels = None,
    format: Format = None,
    input: InputName = None,
    preparation: Preparation = None,
    architecture: Architecture = None,
    input_shape: InputShape = None,
    resume: Annotated[str | None, typer.Option(help="Id of an upload to go on with where it stopped.")] = None,
    json: Json = False,
) -> None:
    """Upload a model or a data set to the service and print its id."""
    from modelpress.cli.remote import upload as work
    from modelpress.cli.wishes import architecture as read

    data = {"labels": labels, "format": format, "input": input, "preparation": preparation}
    work(files, name, data, resume, json, read(architecture, input_shape))


@app.command(epilog=exits.DESCRIPTION)
def submit(
    recipe: RecipeArgument,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model, or a file to upload.")],
    train: Train = None,
    eval: Eval = None,
    labels: Labels = None,
    task: TaskName = None,
    format: Format = None,
    input: InputName = None,
    preparation: Preparation = None,
    seed: Seed = 0,
    device: Device = "auto",
    objective: Objective = None,
    max_drop: MaxDrop = None,
    batch_size: Batches = None,
    architecture: Architecture = None,
    input_shape: InputShape = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and say what to expect.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end, as `watch` does.")] = False,
    json: Json = False,
) -> None:
    """Queue a job on the service and print its id. Data sets are ids, or files to upload."""
    from modelpress.cli.remote import submit as work
    from modelpress.cli.wishes import architecture as read

    data = {"labels": labels, "format": format, "input": input, "preparation": preparation}
    wish = {"seed": seed, "device": device, "objective": objective, "max_drop": max_drop, "batch_sizes": batch_size}
    known = read(architecture, input_shape)
    work(recipe, model, train, eval, task, data, wish, name, dry_run, wait, json, known)


@app.command(epilog=exits.DESCRIPTION)
def watch(
    job: JobId,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most; the job goes on after that.")] = None,
    json: Json = False,
) -> None:
    """Follow a job to its end. With --json each event is a line, and the finished job or the problem the last one."""
    from modelpress.cli.remote import watch as work

    work(job, timeout, json)


@app.command(epilog=exits.DESCRIPTION)
def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to list.")] = 20,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    from modelpress.cli.remote import jobs as work

    work(state, limit, json)


@app.command(epilog=exits.DESCRIPTION)
def cancel(job: JobId, json: Json = False) -> None:
    """Cancel a job; harmless where it is finished."""
    from modelpress.cli.remote import cancel as work

    work(job, json)


@app.command(epilog=exits.DESCRIPTION)
def download(
    job: JobId,
    out: Out,
    only: Annotated[list[str] | None, typer.Option(help="Only this artifact; may be given several times.")] = None,
    json: Json = False,
) -> None:
    """Download what a job made, each file checked against its hash."""
    from modelpress.cli.remote import download as work

    work(job, out, only, json)


def version(show: bool) -> Any:
    """Print the version and stop."""
    if show:
        from importlib.metadata import version as installed

        typer.echo(f"modelpress {installed('modelpress')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=version, is_eager=True)
    ] = False,
) -> None:
    pass
