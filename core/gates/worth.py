"""The worth gate: which candidates are inside the declared limits, and which of those is best."""

from modelpress.job import Target
from modelpress.result import Candidate, Measurement

LOWER_IS_BETTER = {"rmse", "mae", "relative_error"}
ORIGINAL = "original"


def is_judged(technique: str, is_last: bool) -> bool:
    """Whether a recipe wants to be judged after this step; right after a cut nothing is worth much."""
    return is_last or technique == "recover" or technique.startswith("distill.")


def limits_broken(target: Target, candidate: Candidate, original: Candidate, main: str | None) -> list[str]:
    """The declared limits that the candidate breaks, in words; a limit that could not be measured is broken.

    Args:
        main: name of the task's main metric; None where there were no samples to measure it on.
    """
    broken = []
    if target.max_drop is not None:
        drop = metric_drop(candidate, original, main)
        if drop is None:
            broken.append("the main metric could not be measured")
        elif drop > target.max_drop + 1e-12:
            broken.append(f"{main} is {drop:.4g} worse than the original; at most {target.max_drop:g} is allowed")
    if target.min_speedup is not None:
        speedup = find(candidate, "speedup_b")
        if candidate.name == ORIGINAL:
            value = 1.0
        else:
            value = speedup.value if speedup else None
        if value is None or value < target.min_speedup:
            told = "not measured" if value is None else f"{value:.3g}"
            broken.append(f"the speed-up is {told}; at least {target.min_speedup:g} is asked for")
    if target.max_bytes is not None:
        size = value_of(candidate, "bytes")
        if size is None or size > target.max_bytes:
            broken.append(f"the file has {size or 0:,.0f} bytes; at most {target.max_bytes:,} are allowed")
    return broken


def metric_drop(candidate: Candidate, original: Candidate, main: str | None) -> float | None:
    """How much worse the main metric is, in its own unit; below 0 where it is better."""
    if main is None:
        return None
    ours, theirs = value_of(candidate, main), value_of(original, main)
    if ours is None or theirs is None:
        return None
    return ours - theirs if main in LOWER_IS_BETTER else theirs - ours


def has_limits(target: Target) -> bool:
    return any(limit is not None for limit in (target.max_drop, target.min_speedup, target.max_bytes))


def choose_best(target: Target, candidates: list[Candidate], judged: set[str], main: str | None) -> Candidate:
    """Inside the limits, then best on the objective; without limits and objective, the last one.

    Args:
        candidates: the original first.
        judged: names of those that stand where a recipe is judged; only they compete where anything was declared.
    """
    original = candidates[0]
    if not has_limits(target) and target.objective is None:
        return candidates[-1]
    competing = [c for c in candidates[1:] if c.name in judged and c.inside_limits is not False]
    if not competing:
        return original
    if target.objective is None:
        return competing[-1]
    return min(reversed(competing), key=lambda candidate: cost(target, candidate, main))


def cost(target: Target, candidate: Candidate, main: str | None) -> float:
    """What the objective wants least of; infinite where it was not measured."""
    found = None
    match target.objective:
        case "latency":
            speedup = find(candidate, "speedup_b")
            found = -speedup.value if speedup and speedup.value is not None else None
        case "size":
            found = value_of(candidate, "bytes")
        case "macs":
            found = value_of(candidate, "macs")
        case "metric" if main is not None:
            value = value_of(candidate, main)
            found = value if value is None or main in LOWER_IS_BETTER else -value
    return float("inf") if found is None else found


def find(candidate: Candidate, prefix: str) -> Measurement | None:
    """The candidate's own first measurement whose metric starts so."""
    return next(
        (m for m in candidate.measurements if m.subject == candidate.name and m.metric.startswith(prefix)), None
    )


def value_of(candidate: Candidate, metric: str) -> float | None:
    """Value of a metric, on the selection samples where it depends on samples."""
    return next(
        (
            m.value
            for m in candidate.measurements
            if m.metric == metric and m.subject == candidate.name and m.role != "test"
        ),
        None,
    )
