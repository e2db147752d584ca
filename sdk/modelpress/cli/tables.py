"""Results and models as tables, for people."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelpress.resources import Job
from modelpress.result import Candidate, Measurement, Result

console = Console(highlight=False)

INTERLEAVED = "original_"
"""Of a time: the original's, measured in turn with the candidate's, and so the one to compare with."""


def plain_table(*headings: str, whole: Sequence[str] = (), numbers: Sequence[str] = ()) -> Table:
    """An empty table. Columns that are to stay `whole` are the last to be cut; `numbers` stand at the right."""
    table = Table(box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in headings:
        justify = "right" if heading in numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=heading in whole, overflow="fold")
    return table


def show_result(result: Result, to: Console = console) -> None:
    """Before and after, the survey's figures, and what the steps did."""
    show_figures(result, to)
    for step in result.steps:
        reason = f" ({step.reason})" if step.reason else ""
        to.print(f"  step {step.index} {step.technique}: {step.status} in {step.seconds:.1f} s{escape(reason)}")
    for warning in result.warnings:
        to.print(f"  note: {escape(warning)}")


def show_figures(result: Result, to: Console = console) -> None:
    """Before and after, and the survey's figures."""
    to.print(comparison(result))
    if result.survey:
        s = result.survey
        to.print(
            f"Survey's figures: compression rate alpha {number(s.alpha)}; index-space saving beta "
            f"{number(s.beta_survey)} as printed, {number(s.space_saving)} as 1 - a*/a; "
            f"speed-up delta {number(s.delta)}"
        )


def comparison(result: Result) -> Table:
    """A row a metric: the original, the best candidate, and what became of it."""
    before, after = _ends(result)
    title = f"original against {after.name}, 95 % intervals in brackets" if after else ""
    numbers = ("before", "after", "ratio")
    table = plain_table("metric", "before", "after", "ratio", whole=("metric", "ratio"), numbers=numbers)
    table.title = title
    old, new = _figures(before), _figures(after)
    for metric in dict.fromkeys([*old, *new]):
        if metric.startswith(INTERLEAVED):
            continue
        first, last = new.get(INTERLEAVED + metric, old.get(metric)), new.get(metric)
        table.add_row(metric, _figure(first), _figure(last), _ratio(first, last))
    return table


def _ends(result: Result) -> tuple[Candidate | None, Candidate | None]:
    by_name = {candidate.name: candidate for candidate in result.candidates}
    before = result.candidates[0] if result.candidates else None
    return before, by_name.get(result.best or "", result.candidates[-1] if result.candidates else None)


def _figures(candidate: Candidate | None) -> dict[str, Measurement]:
    """The candidate's own figures by metric; the one on the test samples where there is one."""
    if candidate is None:
        return {}
    own = [figure for figure in candidate.measurements if figure.subject == candidate.name]
    return {figure.metric: figure for figure in sorted(own, key=lambda figure: figure.role == "test")}


def _figure(figure: Measurement | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    if figure.unit == "fraction":
        return f"{100 * figure.value:.2f} %{_interval(figure, 100, '.1f')}"
    if figure.unit in ("ms", "s"):
        return f"{figure.value:.3g} {figure.unit}{_interval(figure, 1, '.3g')}"
    return f"{number(figure.value)}{_interval(figure, 1, '.3g')}"


def _interval(figure: Measurement, factor: float, digits: str) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return escape(f" [{factor * figure.low:{digits}}, {factor * figure.high:{digits}}]")


def number(value: float | None) -> str:
    """Large and whole numbers in groups of three, others to four figures."""
    if value is None:
        return "-"
    whole = float(value).is_integer() and abs(value) >= 10
    return f"{value:,.0f}" if whole or abs(value) >= 1000 else f"{value:.4g}"


def _ratio(old: Measurement | None, new: Measurement | None) -> str:
    if old is None or new is None or not old.value or new.value is None:
        return ""
    return f"{new.value / old.value:.3f}"


def show_jobs(jobs: Sequence[Job], to: Console = console) -> None:
    """A row a job."""
    table = plain_table("job", "state", "progress", "name", "created", whole=("job", "state", "created"))
    for job in jobs:
        done = f"{job.progress.fraction:.0%} {job.progress.phase}".strip()
        table.add_row(job.id, job.state, done, escape(job.name or ""), f"{job.created_at:%Y-%m-%d %H:%M}")
    to.print(table)
