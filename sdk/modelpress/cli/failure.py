"""How a failure is told: to people on stderr, with `--json` as a problem on stdout."""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from modelpress.cli import exits
from modelpress.problem import FileUnreadable, Problem, ProblemError


def report(error: Exception, as_json: bool) -> int:
    """Tell of the failure; answers its exit code."""
    problem = as_problem(error)
    if as_json:
        sys.stdout.write(problem.model_dump_json(exclude_none=True) + "\n")
    else:
        _tell(problem)
    if problem.code == "internal":
        return exits.BUG
    return exits.BY_CATEGORY.get(problem.category, exits.BUG)


def as_problem(error: Exception) -> Problem:
    """Any exception as a problem."""
    if isinstance(error, ProblemError):
        return error.problem()
    if isinstance(error, OSError):
        return FileUnreadable(f"{error.filename}: {error.strerror}" if error.filename else str(error)).problem()
    if is_usage_error(error):
        hint = "`modelpress --help` lists the commands, `modelpress COMMAND --help` their options."
        return Problem(title="Wrong command line", status=400, code="usage", detail=_usage(error), hint=hint)
    return Problem(
        title=ProblemError.title,
        status=500,
        code="internal",
        category="infra",
        detail=f"{type(error).__name__}: {error}",
        hint="Please report it, with what MODELPRESS_DEBUG=1 shows.",
    )


def is_usage_error(error: Exception) -> bool:
    """Whether the command line itself is wrong."""
    usage_error = typer.BadParameter.__bases__[0]  # typer exports no other name of it
    return isinstance(error, usage_error)


def _usage(error: Exception) -> str:
    said = getattr(error, "format_message", None)
    return str(said() if callable(said) else error)


def _tell(problem: Problem) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]Error[/]: {escape(problem.title)}")
    if problem.detail:
        console.print(f"  {escape(problem.detail)}")
    for field in problem.errors if len(problem.errors) > 1 else []:
        console.print(f"  - {escape(field.pointer)}: {escape(field.detail)}")
    console.print(f"  code: {escape(problem.code)}")
    if problem.hint:
        console.print(f"  hint: {escape(problem.hint)}")
    if problem.request_id:
        console.print(f"  request: {escape(problem.request_id)}")
