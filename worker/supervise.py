"""Claim a job, run its computation as a child, file what that made: the one way in which jobs are run."""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from modelpress.problem import Problem, ProblemError
from store import claims, leases, logs, uploads
from store.claims import Claimed
from store.leases import LeaseLost
from worker import child, memory
from worker.child import Child
from worker.classify import Ended, Verdict, classify
from worker.events import EventTail
from worker.folder import job_folder, size_of
from worker.lease import GIVE_UP_S, UNREACHABLE, Lease
from worker.outputs import keep_artifacts, read_outcome
from worker.place import Place
from worker.problems import WorkerFailed
from worker.teller import Teller
from worker.text import PlainText

TICK_S = 0.1
DISK_LOOK_S = 5.0
MOST_THREADS = 2048
MOST_DISK_BYTES = 64 << 30
HAND_OVER_S = 60.0
"""A computation that notices that its time is over gets so long, or a tenth of it, to hand over its best."""

log = structlog.get_logger(__name__)


def run_next_job(place: Place) -> str | None:
    """Run the best eligible job of the place's lane to its end; its id, or None if there is none."""
    with place.database.write() as session:
        claimed = claims.claim(session, place.settings, place.worker_id, place.lane, (place.device_class,))
    if claimed is None:
        return None
    with structlog.contextvars.bound_contextvars(job_id=claimed.job_id, attempt=claimed.attempt):
        log.info("job_claimed", kind=claimed.kind, worker=place.worker_id)
        with Lease(place, claimed.token) as lease:
            try:
                _run_to_its_end(place, claimed, lease)
            except LeaseLost:
                log.warning("job_abandoned")
    return claimed.job_id


def _run_to_its_end(place: Place, claimed: Claimed, lease: Lease) -> None:
    run = _verify if claimed.kind == "verify" else _compute
    try:
        run(place, claimed, lease)
    except LeaseLost:
        raise
    except ProblemError as error:
        verdict = Verdict("requeue" if error.retryable else "fail", problem=error.problem())
        _settle(place, claimed, lease, verdict)
    except Exception as error:  # our disk, the blob store, a fault of ours: somebody else may do better
        log.exception("job_run_failed")
        problem = WorkerFailed(f"the worker could not run it: {type(error).__name__}").problem()
        _settle(place, claimed, lease, Verdict("requeue", problem=problem))


def _verify(place: Place, claimed: Claimed, lease: Lease) -> None:
    """Hash an upload: no file is opened here, its bytes only counted and summed."""
    uploads.verify(place.database, place.blobs, claimed)


def _compute(place: Place, claimed: Claimed, lease: Lease) -> None:
    with job_folder(place.jobs_dir, claimed, place.cache) as job_dir:
        with Teller(place, claimed, lease, job_dir) as teller:
            verdict = classify(_run(place, claimed, lease, teller, job_dir))
        _persist(lease, teller.tell)
        if verdict.action == "give_back":
            _persist(lease, teller.save_checkpoint)
        _settle(place, claimed, lease, verdict, job_dir)


# -- while the child runs -----------------------------------------------------------------------------------


def _run(place: Place, claimed: Claimed, lease: Lease, teller: Teller, job_dir: Path) -> Ended:
    most_memory = claimed.memory_bytes or memory.limit_of_machine()
    allow_pt2 = place.settings.allow_pt2
    variables = child.environment(job_dir, place.cuda_device, most_memory, MOST_DISK_BYTES, allow_pt2=allow_pt2)
    kills = memory.oom_kills()
    with Child(place.command(job_dir), variables, job_dir) as process:
        lease.watch(process)
        limit = _watch(process, claimed, teller, job_dir, most_memory)
        code = process.process.returncode
    return Ended(code, process.stopped, read_outcome(job_dir), memory.oom_kills() > kills, limit)


def _watch(process: Child, claimed: Claimed, teller: Teller, job_dir: Path, most_memory: int) -> str:
    """Until its end: pass on what it says and hold it to its limits. Returns the limit it broke, in words."""
    tail, text, broken = EventTail(job_dir / "events.jsonl"), PlainText(), ""
    limits = Limits(claimed, most_memory)
    try:
        while not process.wait(TICK_S):
            said, output = tail.read(), process.output()
            limits.alive = limits.alive or bool(said or output)
            teller.say(said, text.feed(output))
            if not broken:
                broken = limits.check(process, job_dir)
        while output := process.output():
            teller.say([], text.feed(output))
        teller.say([], text.feed(b"", last=True))
        while said := tail.read():
            teller.say(said, b"")
    finally:
        tail.close()
    return broken


class Limits:
    """What a job may use, and the clocks that run against it."""

    def __init__(self, claimed: Claimed, most_memory: int) -> None:
        now = time.monotonic()
        self._seconds = claimed.seconds_left
        self._deadline = now + self._seconds + min(HAND_OVER_S, self._seconds / 10)
        self._quiet_seconds = claimed.no_progress_seconds
        self._memory = most_memory
        self._heard = self._disk_seen = now
        self.alive = False
        """Whether it gave a sign of life since the last check."""

    def check(self, process: Child, job_dir: Path) -> str:
        """Stop a child that broke a limit; the limit in words, or nothing."""
        now, usage = time.monotonic(), process.usage()
        if self.alive:
            self._heard, self.alive = now, False
        if usage.memory_bytes > self._memory:
            process.stop("memory", 0.0)
            return f"it used more than the {self._memory >> 20} MiB it may use"
        if usage.threads > MOST_THREADS:
            process.stop("threads", 0.0)
            return f"it had {usage.threads} threads; it may have {MOST_THREADS}"
        if now > self._deadline:
            process.stop("run_time", 0.0)
            return f"it ran for more than {self._seconds:g} seconds"
        if now > self._heard + self._quiet_seconds:
            process.stop("no_progress", 0.0)
            return f"neither event nor output for {self._quiet_seconds:g} seconds"
        return self._check_disk(process, job_dir, now)

    def _check_disk(self, process: Child, job_dir: Path, now: float) -> str:
        if now < self._disk_seen + DISK_LOOK_S:
            return ""
        self._disk_seen = now
        if size_of(job_dir) <= MOST_DISK_BYTES:
            return ""
        process.stop("disk", 0.0)
        return f"it wrote more than the {MOST_DISK_BYTES >> 30} GiB it may write"


# -- after its end ------------------------------------------------------------------------------------------


def _settle(place: Place, claimed: Claimed, lease: Lease, verdict: Verdict, job_dir: Path | None = None) -> None:
    """Write the end of the attempt, fenced by its token. Raises LeaseLost."""
    made = []
    if verdict.action == "finish" and job_dir is not None and verdict.result is not None:
        made = keep_artifacts(place, claimed.project_id, job_dir, verdict.result)
    if lease.reason == "cancelled":
        verdict = Verdict("cancel")
    if verdict.action == "abandon" or lease.reason == "lease_lost":
        raise LeaseLost(claimed.token)

    def write() -> None:
        token, problem = claimed.token, verdict.problem or Problem(title="", status=500, code="internal")
        with place.database.write() as session:
            if verdict.action == "finish" and verdict.result is not None:
                leases.finish(session, token, verdict.result, made)
            elif verdict.action == "fail":
                leases.fail(session, token, problem)
            elif verdict.action == "cancel":
                leases.cancelled(session, token)
            else:
                counts = verdict.action == "requeue"
                leases.requeue(session, place.settings, token, problem, counts_attempt=counts)

    _persist(lease, write)
    lease.release()
    log.info("job_settled", action=verdict.action, problem=verdict.problem.code if verdict.problem else None)
    logs.archive(place.database, place.blobs, claimed.job_id)


def _persist(lease: Lease, write: Callable[[], None]) -> None:
    """Write, as soon as the database is there. A commit of unknown outcome is tried again: then the token tells."""
    until = time.monotonic() + GIVE_UP_S
    while True:
        try:
            return write()
        except UNREACHABLE as error:
            if lease.reason in ("lease_lost", "unreachable") or time.monotonic() > until:
                raise LeaseLost("the database stayed away") from error
            time.sleep(1.0)
