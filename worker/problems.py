"""How a job can end badly without being able to say so itself."""

from modelpress.problem import OutOfTime, ProblemError


class Crashed(ProblemError):
    code, title, status, category = "crashed", "The computation crashed", 422, "model"


class NoResult(ProblemError):
    code, title = "no_result", "The computation ended without saying how it went"


class NoProgress(OutOfTime):
    code, title = "no_progress", "The job gave no sign of life for too long"


class TooManyThreads(ProblemError):
    code, title, status, category = "too_many_threads", "The job started more threads than it may", 422, "resource"


class OutOfDisk(ProblemError):
    code, title, status, category = "out_of_disk", "The job wrote more than it may", 422, "resource"


class Preempted(ProblemError):
    code, title, status, category, retryable = "preempted", "The worker was shut down", 503, "infra", True


class WorkerFailed(ProblemError):
    """Its disk is full, the blob store is away, and the like."""

    code, title, status, category, retryable = "worker_failed", "The worker could not run the job", 500, "infra", True
