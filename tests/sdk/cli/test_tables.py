"""What people are shown of a result."""

from io import StringIO

from rich.console import Console

from modelpress.cli.tables import show_jobs, show_result
from modelpress.resources import Job
from modelpress.result import Candidate, Measurement, Result, StepRecord, Survey


def figure(subject: str, metric: str, value: float | None, unit: str = "", **more) -> Measurement:
    return Measurement(subject=subject, metric=metric, value=value, unit=unit, **more)


RESULT = Result(
    best="1-int8",
    candidates=[
        Candidate(
            name="original",
            step=-1,
            measurements=[
                figure("original", "top1", 0.5, "fraction", role="select"),
                figure("original", "top1", 0.99, "fraction", role="test", low=0.97, high=0.995),
                figure("original", "bytes", 1_287_254),
                figure("original", "latency_ms_b1", 0.7, "ms"),
                figure("original:fc1", "bytes", 5),
            ],
        ),
        Candidate(name="0-prune", step=0, measurements=[figure("0-prune", "bytes", 7)]),
        Candidate(
            name="1-int8",
            step=1,
            measurements=[
                figure("1-int8", "top1", 0.98, "fraction", role="test"),
                figure("1-int8", "bytes", 128_725.4),
                figure("1-int8", "latency_ms_b1", 0.4, "ms"),
                figure("1-int8", "original_latency_ms_b1", 0.8, "ms"),
                figure("1-int8", "load_ms", None, "ms"),
            ],
        ),
    ],
    survey=Survey(alpha=3.0, beta_survey=2.0, space_saving=2 / 3, delta=None),
    steps=[StepRecord(index=1, technique="quantize.int8", status="skipped", seconds=1.25, reason="no [data]")],
    warnings=["mind the [gap]"],
)


def shown(width: int = 100) -> list[str]:
    text = StringIO()
    show_result(RESULT, Console(file=text, width=width))
    return text.getvalue().splitlines()


def row(metric: str) -> list[str]:
    [line] = [line for line in shown() if line.split()[:1] == [metric]]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_final_figure_is_the_one_on_the_test_samples():
    assert row("top1") == ["top1", "99.00 % [97.0, 99.5]", "98.00 %", "0.990"]


def test_layers_and_other_candidates_are_not_mixed_in():
    assert row("bytes") == ["bytes", "1,287,254", "128,725", "0.100"]


def test_a_time_is_compared_with_the_original_measured_in_turn():
    assert row("latency_ms_b1") == ["latency_ms_b1", "0.8 ms", "0.4 ms", "0.500"]
    assert not any("original_latency" in line for line in shown())


def test_what_was_not_measured_is_a_dash():
    assert row("load_ms") == ["load_ms", "-", "-"]


def test_no_digit_is_cut_where_there_is_little_room():
    words = " ".join(shown(width=50)).split()
    assert {"99.00", "[97.0,", "99.5]", "98.00", "0.990", "1,287,254", "latency_ms_b1", "0.500"} <= set(words)


def test_the_surveys_figures_steps_and_warnings_are_told():
    text = " ".join(shown())
    assert "alpha 3" in text
    assert "delta -" in text
    assert "quantize.int8: skipped in 1.2 s (no [data])" in text
    assert "mind the [gap]" in text


def test_a_jobs_id_is_never_cut():
    job_id = "job_" + "0" * 26
    job = Job.model_validate(
        {"id": job_id, "state": "running", "is_terminal": False, "name": "n" * 60, "created_at": "2026-01-01T00:00:00Z"}
    )
    text = StringIO()
    show_jobs([job], Console(file=text, width=80))
    assert job_id in text.getvalue()
