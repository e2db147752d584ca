"""What a step is given: time, decisions that replay, events."""

import json
import os
import signal

import pytest

from core.clock import Clock, Stopped
from core.decisions import Decisions
from core.events import Events
from core.seeds import seed_step
from modelpress.events import core_event
from modelpress.problem import ModelError, OutOfTime


def test_a_decision_is_made_once_and_replayed_by_a_resumed_job(tmp_path):
    path = tmp_path / "decisions.json"
    asked = []

    def choose():
        asked.append(1)
        return {"keep": len(asked)}

    assert Decisions(path).decide("0/conv1", choose, "slower") == {"keep": 1}
    assert Decisions(path).decide("0/conv1", choose) == {"keep": 1}
    assert Decisions(path).decide("1/conv1", choose) == {"keep": 2}
    assert [(d.key, d.because) for d in Decisions(path).all()] == [("0/conv1", "slower"), ("1/conv1", "")]


def test_decisions_that_can_not_be_read_are_a_problem(tmp_path):
    (tmp_path / "decisions.json").write_text("[{}]")
    with pytest.raises(ModelError):
        Decisions(tmp_path / "decisions.json")


def test_the_clock_ends_steps_with_time_left_to_hand_over():
    clock = Clock(100.0)
    clock.check()
    assert clock.limit == 90.0
    with pytest.raises(OutOfTime):
        Clock(0.0).check()


def test_sigterm_stops_at_the_next_check():
    before = signal.getsignal(signal.SIGTERM)
    try:
        clock = Clock(100.0)
        clock.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            clock.check()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_every_event_is_one_line_that_the_supervisor_accepts(tmp_path):
    with Events(tmp_path / "e") as events:
        events.step_started(0, "recover")
        events.progress("compressing", 7.0, "x" * 10_000, 0)
        events.warning("code", "two\nlines")
    lines = (tmp_path / "e").read_text().splitlines()
    assert [core_event.validate_json(line).type for line in lines] == ["step.started", "progress", "warning"]
    assert json.loads(lines[1])["fraction"] == 1.0
    assert max(map(len, lines)) < 1000


def test_half_a_line_of_a_killed_run_does_not_spoil_the_next_one(tmp_path):
    (tmp_path / "e").write_text('{"type": "prog')
    with Events(tmp_path / "e") as events:
        events.step_started(0, "recover")
    assert json.loads((tmp_path / "e").read_text().splitlines()[1])["step"] == 0


def test_progress_that_comes_too_fast_is_thinned_out(tmp_path):
    with Events(tmp_path / "e") as events:
        for number in range(100):
            events.progress("compressing", number / 1000)
    assert len((tmp_path / "e").read_text().splitlines()) < 10


def test_each_step_has_randomness_of_its_own():
    numbers = {(seed, step): int(seed_step(seed, step).initial_seed()) for seed in (0, 1) for step in (0, 1)}
    assert len(set(numbers.values())) == 4
    assert int(seed_step(0, 1).initial_seed()) == numbers[0, 1]
