"""The page that people read: self-contained, and safe whatever a hostile model calls its layers."""

import re

import pytest

from core.measure.layers import LayerFigures
from core.report import numbers
from core.report.page import render
from core.report.report import Report, layer_rows
from modelpress.job import Job
from modelpress.result import Candidate, DataUse, Environment, Measurement, Result, StepRecord, Survey

EVIL = '<img src=x onerror="alert(1)">'


def report(name: str = "conv1", parts: tuple[str, ...] = ("conv1/1", "conv1/2")) -> Report:
    def measured(subject, **values):
        return [Measurement(subject=subject, metric=m, value=v) for m, v in values.items()]

    result = Result(
        candidates=[
            Candidate(name="original", step=-1, measurements=measured("original", top1=0.9, bytes=2048)),
            Candidate(
                name="0-x",
                step=0,
                technique="x",
                inside_limits=False,
                outside=[name],
                measurements=measured("0-x", top1=0.89, bytes=1024, speedup_b1=2.0),
            ),
        ],
        best="0-x",
        survey=Survey(alpha=2.0, beta_survey=1.0, space_saving=0.5, delta=2.0),
        steps=[StepRecord(index=0, technique="x", status="done", seconds=1.0, reason=name, notes=[name])],
        data=[DataUse(role="test", dataset=name, samples=3, used_for="figures")],
        environment=Environment(device="cpu", processor=name, threads=1),
        warnings=[name],
    )
    layers = {
        "original": [LayerFigures(name, "Conv", 10, 10, 100, 0.5), LayerFigures("(other)", "", 0, 0, None, 0.1)],
        "0-x": [LayerFigures(part, "Conv", 2, 2, 20, 0.1) for part in parts],
    }
    return Report(Job(), result, layers, "top1", False)


def test_names_are_escaped_everywhere():
    page = render(report(EVIL, (EVIL + "/1",)))
    assert EVIL not in page
    assert page.count("&lt;img src=x") >= 5


def test_the_page_loads_nothing_and_runs_nothing():
    page = render(report())
    assert not re.search(r"<script|<link|<img|src=|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_parts_of_a_replaced_layer_are_set_against_it():
    rows = layer_rows(report())
    assert [(row.name, row.total("macs")) for row in rows] == [("conv1", 40), ("(other)", None)]


def test_layers_that_are_new_stand_on_their_own():
    rows = layer_rows(report(parts=("student",)))
    assert [(row.name, row.before is None) for row in rows] == [("conv1", False), ("student", True), ("(other)", False)]


@pytest.mark.parametrize(
    "text, value, metric, unit",
    [
        ("91.73 %", 0.9173, "top1", "fraction"),
        ("1 KiB", 1024, "bytes", "bytes"),
        ("10 B", 10, "bytes", "bytes"),
        ("2.5 MiB", 2.5 * 2**20, "bytes", "bytes"),
        ("1.50 ×", 1.5, "speedup_b1", "ratio"),
        ("0.0342 ms", 0.0342, "latency_ms_b1", "ms"),
        ("9,216", 9216, "macs", ""),
        ("41 M", 41_000_000, "macs", ""),
        ("–", None, "macs", ""),
    ],
)
def test_numbers_read_as_people_write_them(text, value, metric, unit):
    assert numbers.number(value, metric, unit) == text


def test_changes_are_points_for_shares_and_factors_for_costs():
    def measurement(value, unit=""):
        return Measurement(subject="s", metric="m", value=value, unit=unit)

    assert numbers.change(measurement(0.9, "fraction"), measurement(0.88, "fraction")) == "-2.00 points"
    assert numbers.change(measurement(10), measurement(5)) == "÷ 2.00"
    assert numbers.change(measurement(5), measurement(10)) == "× 2.00"
    assert numbers.change(measurement(5), None) == ""
