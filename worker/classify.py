"""What the end of a child means for its job."""

import signal
from dataclasses import dataclass
from typing import Literal

from modelpress.problem import OutOfMemory, OutOfTime, Problem, ProblemError
from modelpress.result import Result
from store.problems import WorkerLost
from worker.child import Reason
from worker.problems import Crashed, NoProgress, NoResult, OutOfDisk, Preempted, TooManyThreads

# Exit codes of the computation that mean something where it left no `result.json`.
MEMORY_EXHAUSTED = 71
ORPHANED = 75

CRASHES = {
    -number: name
    for number, name in (
        (signal.SIGSEGV, "a wild memory access (SIGSEGV)"),
        (signal.SIGBUS, "a wild memory access (SIGBUS)"),
        (signal.SIGABRT, "an abort (SIGABRT)"),
        (signal.SIGFPE, "an arithmetic trap (SIGFPE)"),
        (signal.SIGILL, "an illegal instruction (SIGILL)"),
        (signal.SIGSYS, "a forbidden system call (SIGSYS)"),
        (signal.SIGTRAP, "a trap (SIGTRAP)"),
    )
}


@dataclass(frozen=True)
class Ended:
    """How a child ended, as seen from outside."""

    code: int
    stopped: Reason | None = None
    outcome: Result | Problem | None = None
    is_oom_killed: bool = False
    """Whether the kernel killed something for want of memory meanwhile."""
    limit: str = ""
    """The limit it was stopped at, in words."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of the job. `abandon` writes nothing: it is somebody else's."""

    action: Literal["finish", "fail", "requeue", "give_back", "cancel", "abandon"]
    result: Result | None = None
    problem: Problem | None = None


STOPPED: dict[Reason, type[ProblemError]] = {
    "memory": OutOfMemory,
    "threads": TooManyThreads,
    "disk": OutOfDisk,
    "run_time": OutOfTime,
    "no_progress": NoProgress,
}
HINTS: dict[Reason, str] = {
    "memory": "Ask for more with `budget.memory_bytes`, or use a smaller model, data set or batch.",
    "run_time": "Ask for more with `budget.run_seconds`.",
    "no_progress": "If one step takes so long on this model, ask for more with `budget.no_progress_seconds`.",
}


def classify(ended: Ended) -> Verdict:
    """Never by reading prose: by who stopped it, how it exited, and what it wrote down."""
    if ended.stopped in ("lease_lost", "unreachable", "abandoned"):
        return Verdict("abandon")
    if ended.stopped == "cancelled":
        return Verdict("cancel")
    if ended.stopped == "drained":
        return Verdict("give_back", problem=Preempted("the worker was shut down; another one goes on").problem())
    if ended.stopped is not None:
        error = STOPPED[ended.stopped](ended.limit, hint=HINTS.get(ended.stopped, ""))
        return Verdict("fail", problem=error.problem())
    return _of_itself(ended)


def _of_itself(ended: Ended) -> Verdict:
    outcome = ended.outcome
    if ended.code == 0 and isinstance(outcome, Result):
        return Verdict("finish", result=outcome)
    if ended.code > 0 and isinstance(outcome, Problem):
        return Verdict("requeue" if outcome.retryable else "fail", problem=outcome)
    if ended.code == MEMORY_EXHAUSTED or (ended.code == -signal.SIGKILL and ended.is_oom_killed):
        detail = "the kernel ended it" if ended.is_oom_killed else "too little was left to say more"
        return Verdict("fail", problem=OutOfMemory(detail, hint=HINTS["memory"]).problem())
    if ended.code in CRASHES:
        detail = f"it ended with {CRASHES[ended.code]}"
        hint = "The end of its log may say where. The model or a library has a fault; the service is not affected."
        return Verdict("fail", problem=Crashed(detail, hint=hint).problem())
    if ended.code < 0 or ended.code == ORPHANED:
        return Verdict(
            "requeue", problem=WorkerLost(f"the computation was ended from outside ({ended.code})").problem()
        )
    return Verdict("fail", problem=NoResult(f"it exited with code {ended.code}; see the end of its log").problem())
