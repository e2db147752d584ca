"""`modelpress-server`: one command for every part of the service."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from modelpress.problem import ProblemError, RequestInvalid
from store.logging import configure
from store.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys_app, name="keys")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="0 takes any free one.", min=0, max=65535)]


def main() -> None:
    """Exit codes: 0 well, 1 a problem (on standard error), 2 a wrong command line, 3 the doctor found something."""
    try:
        app()
    except ProblemError as error:
        sys.stderr.write(
            f"{error.code}: {error.detail or error.title}\n" + (f"hint: {error.hint}\n" if error.hint else "")
        )
        sys.exit(1)


def load_settings(data_dir: Path | None = None) -> Settings:
    """From the environment and the secrets folder; `data_dir` wins over both."""
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}" for each in error.errors())
        raise RequestInvalid(wrong, hint="Check the MODELPRESS_... variables.") from None


@app.command()
def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data_dir: Annotated[Path | None, typer.Option(help="Database, blobs and key; ~/.modelpress if left out.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it answers, and leave it running.")] = False,
) -> None:
    """Run the whole service here, in one process: no database server, no broker, no settings."""
    from server import detached, embedded

    configure()
    settings = load_settings(data_dir)
    if settings.redis_url:
        raise RequestInvalid(
            "`up` is the service in one process, and MODELPRESS_REDIS_URL asks for the full one",
            hint="Unset it, or run `api`, `worker` and `keeper`.",
        )
    if not detach:
        embedded.serve(settings, host, port)
        return
    running = detached.ensure_running(settings, host, port)
    print(f"ModelPress on {running.url}\n  key   {running.key}\n  log   {running.log}")
    print(f"  stop  kill {running.process.pid}" if running.process else "  it was running already")


@app.command()
def api(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve HTTP. It never opens a model; workers do."""
    from server import full

    configure()
    full.serve_api(load_settings(), host, port)


@app.command()
def worker(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:all, cuda:N, or the UUID of a GPU.")] = "cpu",
    lane: Annotated[str, typer.Option(help="device, inspect, or all: a GPU worker has no inspect lane.")] = "all",
) -> None:
    """Run Celery workers: one for each GPU asked for; on the processor, one for jobs and one for looking at models."""
    from worker.celery_app import Post, serve
    from worker.devices import choose, visible_gpus

    configure()
    settings = load_settings()
    chosen = choose(device, visible_gpus())
    posts = [Post(settings, each, *kind) for kind in chosen for each in _lanes(lane, kind[0])]
    if len(posts) == 1:
        serve(posts[0])
    else:
        _run_each([["worker", "--device", post.cuda_device or "cpu", "--lane", post.lane] for post in posts])


@app.command()
def keeper() -> None:
    """Ring queues that wait, take jobs from workers that fell silent, remove what nobody wants."""
    from server import full

    configure()
    full.keep(load_settings())


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables, as the role that owns them, and make the bucket if need be."""
    from store.migrate import migrate as bring_up

    configure()
    settings = load_settings()
    bring_up(settings.owner_database_url)
    if settings.s3_bucket:
        from store.blobs.s3 import ensure_bucket

        ensure_bucket(settings)


@app.command()
def doctor() -> None:
    """Look whether everything is there that this process needs; exit code 3 where something is missing."""
    from server.doctor import examine

    missing = False
    for finding in examine(load_settings()):
        mark = "ok  " if finding.is_well else "FAIL" if finding.is_required else "note"
        print(f"{mark}  {finding.what:<12} {finding.detail}")
        if not finding.is_well and finding.hint:
            print(f"      {'':<12} {finding.hint}")
        missing = missing or (finding.is_required and not finding.is_well)
    raise typer.Exit(3 if missing else 0)


@keys_app.command("create")
def create_key(
    project: Annotated[str, typer.Option(help="Name; made where there is none.")] = "default",
    name: Annotated[str, typer.Option(help="For people.")] = "cli",
    scope: Annotated[str, typer.Option(help="read, write or admin; each includes those before it.")] = "admin",
    days: Annotated[float | None, typer.Option(help="Until it expires; left out means never.", min=0)] = None,
) -> None:
    """Make an API key and print it: this once, and alone on standard output."""
    from store import keys, projects
    from store.database import Database

    if scope not in keys.SCOPES:
        raise RequestInvalid(f"{scope!r} is no scope", hint=f"Use one of: {', '.join(keys.SCOPES)}.")
    settings = load_settings()
    database = Database(settings.database_url, pool_size=1)
    try:
        with database.write() as session:
            expires = datetime.now(UTC) + timedelta(days=days) if days is not None else None
            row, text = keys.issue(session, settings, projects.ensure(session, project).id, name, scope, expires)
    finally:
        database.close()
    sys.stderr.write(f"{row.id} in project {project}\n")
    print(text)


def _lanes(lane: str, device_class: str) -> list[str]:
    from store.rings import DEVICE, INSPECT

    if lane not in (DEVICE, INSPECT, "all"):
        raise RequestInvalid(f"{lane!r} is no lane", hint=f"Use {DEVICE}, {INSPECT} or all.")
    if device_class != "cpu":
        return [DEVICE]
    return [DEVICE, INSPECT] if lane == "all" else [lane]


def _run_each(commands: list[list[str]]) -> None:
    """Run several of our own commands as processes; where one ends, end the others."""
    from server.processes import run_together

    code = run_together([[sys.executable, "-P", "-m", "server", *command] for command in commands])
    if code:
        raise SystemExit(code)
