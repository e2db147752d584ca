import pytest

from core.gates.worth import choose_best, is_judged, limits_broken
from modelpress.job import Target
from modelpress.result import Candidate, Measurement


def candidate(name, step, top1=None, speedup=None, size=None, macs=None, inside=None, metric="top1"):
    values = {metric: top1, "speedup_b1": speedup, "bytes": size, "macs": macs}
    return Candidate(
        name=name,
        step=step,
        inside_limits=inside,
        measurements=[Measurement(subject=name, metric=m, value=v) for m, v in values.items() if v is not None],
    )


ORIGINAL = candidate("original", -1, 0.90, None, 1000, 100)


@pytest.mark.parametrize(
    "limits, made, broken",
    [
        ({"max_drop": 0.01}, candidate("c", 0, 0.89), []),
        ({"max_drop": 0.01}, candidate("c", 0, 0.88), ["top1"]),
        ({"max_drop": 0.01}, candidate("c", 0), ["could not be measured"]),
        ({"max_drop": 0.0}, candidate("c", 0, 0.95), []),
        ({"min_speedup": 2.0}, candidate("c", 0, speedup=2.0), []),
        ({"min_speedup": 2.0}, candidate("c", 0, speedup=1.9), ["speed-up"]),
        ({"min_speedup": 2.0}, candidate("c", 0), ["not measured"]),
        ({"max_bytes": 10}, candidate("c", 0, size=11), ["11 bytes"]),
        ({"max_bytes": 10, "max_drop": 0.1}, candidate("c", 0, 0.1, size=11), ["top1", "11 bytes"]),
    ],
)
def test_broken_limits_are_told(limits, made, broken):
    found = limits_broken(Target(**limits), made, ORIGINAL, "top1")
    assert len(found) == len(broken)
    assert all(words in text for words, text in zip(broken, found, strict=True))


def test_an_error_that_grows_is_worse():
    before = candidate("original", -1, 1.0, metric="rmse")
    assert limits_broken(Target(max_drop=0.1), candidate("c", 0, 1.2, metric="rmse"), before, "rmse")
    assert not limits_broken(Target(max_drop=0.1), candidate("c", 0, 0.5, metric="rmse"), before, "rmse")


def test_nothing_is_judged_right_after_a_cut():
    assert [is_judged(name, False) for name in ("prune.filters", "recover", "distill.student")] == [False, True, True]
    assert is_judged("prune.filters", True)


PLAIN = [ORIGINAL, candidate("a", 0, 0.5, 3.0, 300, 30), candidate("b", 1, 0.89, 2.0, 300, 40)]


@pytest.mark.parametrize(
    "target, judged, best",
    [
        ({}, {"b"}, "b"),
        ({"objective": "latency"}, {"a", "b"}, "a"),
        ({"objective": "latency"}, {"b"}, "b"),
        ({"objective": "size"}, {"a", "b"}, "b"),  # equal: the later one
        ({"objective": "macs"}, {"a", "b"}, "a"),
        ({"objective": "metric"}, {"a", "b"}, "b"),
        ({"objective": "latency"}, set(), "original"),
    ],
)
def test_the_objective_chooses_among_the_judged(target, judged, best):
    assert choose_best(Target(**target), PLAIN, judged, "top1").name == best


def test_only_what_is_inside_the_limits_is_chosen():
    made = [ORIGINAL, candidate("a", 0, speedup=9, inside=False), candidate("b", 1, speedup=2, inside=True)]
    target = Target(objective="latency", max_drop=0.1)
    assert choose_best(target, made, {"a", "b"}, "top1").name == "b"
    assert choose_best(target, made[:2], {"a"}, "top1").name == "original"
