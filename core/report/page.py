"""The report as one self-contained page. Names in it come from hostile files, so everything is escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.measure.layers import OTHER
from core.report import numbers
from core.report.report import LayerRow, Report, layer_rows, sections
from modelpress.recipe import write_recipe
from modelpress.result import Measurement

MOST_LAYERS = 200  # rows; a page with thousands helps nobody
COSTS = (("milliseconds", "Time", "ms"), ("macs", "MACs", ""), ("parameters", "Parameters", ""))


def render(report: Report) -> str:
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    pages.filters.update(measured=numbers.measured, interval=numbers.interval, title_of=numbers.title)
    pages.globals.update(change=numbers.change, number=numbers.number)
    rows = layer_rows(report)
    return pages.get_template("page.html").render(
        report=report,
        result=report.result,
        headline=headline(report),
        sections=sections(report),
        charts=[chart(rows, field, label, unit) for field, label, unit in COSTS],
        hidden_layers=max(0, len(rows) - MOST_LAYERS),
        recipe=write_recipe(list(report.job.recipe)),
    )


def headline(report: Report) -> list[tuple[str, str, str]]:
    """The few figures at the top: label, value, and what it was or its interval."""
    rows = {row.metric: row for section in reversed(sections(report)) for row in section.rows}  # test before select
    speedup = next((metric for metric in rows if metric.startswith("speedup")), None)
    told = []
    for metric in (report.main_metric, speedup, "bytes", "macs", "parameters"):
        if metric is not None and metric in rows:
            before, after = rows[metric].before, rows[metric].after
            was = was_before(before, after) if before else numbers.interval(after)
            told.append((numbers.title(metric), numbers.measured(after), was))
    return told


def was_before(before: Measurement, after: Measurement | None) -> str:
    return "unchanged" if after is not None and after.value == before.value else f"was {numbers.measured(before)}"


def chart(rows: list[LayerRow], field: str, label: str, unit: str) -> dict:
    """Bars of one cost, layer by layer: widths in percent of the widest."""
    told = [row for row in rows[:MOST_LAYERS] if field == "milliseconds" or row.name != OTHER]
    values = [(row, getattr(row.before, field) if row.before else None, row.total(field)) for row in told]
    widest = max((value for _, *pair in values for value in pair if value), default=0) or 1
    return {
        "label": label,
        "bars": [
            {
                "name": row.name,
                "op_type": row.op_type,
                "before": bar(before, widest, unit),
                "after": bar(after, widest, unit),
                "ran_as": ", ".join(dict.fromkeys(op for part in row.after for op in part.ran_as)),
                "parts": [part.name for part in row.after if part.name != row.name],
            }
            for row, before, after in values
        ],
    }


def bar(value: float | None, widest: float, unit: str) -> dict:
    width = 0.0 if not value else max(0.4, 100 * value / widest)
    return {"width": f"{width:.2f}", "text": numbers.number(value, unit=unit)}
