"""What can go wrong between the client and the service, in the contract's tree."""

from modelpress.problem import Problem, ProblemError, Unavailable


class NoService(ProblemError):
    code, title, status, category = "no_service", "No ModelPress service is known", 503, "user"


class Unreachable(Unavailable):
    code, title = "unreachable", "The service can't be reached"


class UnexpectedAnswer(ProblemError):
    code, title, status = "unexpected_answer", "What answers there is not ModelPress", 502


class DownloadCorrupt(ProblemError):
    code, title, status, retryable = "download_corrupt", "The downloaded file is not what the service holds", 502, True


class UploadFailed(ProblemError):
    code, title, status, category = "upload_failed", "The upload did not arrive whole", 422, "user"


class WaitTimeout(ProblemError):
    """The caller's patience ended; the job goes on."""

    code, title, status, category = "wait_timeout", "Not finished in the time given", 504, "timeout"
    retryable = True


class JobFailed(ProblemError):
    """A job ended without a result; the job's own problem is the code, detail and hint."""

    code, title, status = "job_failed", "The job failed", 422

    def __init__(self, job_id: str, problem: Problem | None) -> None:
        super().__init__(
            problem.detail if problem else f"{job_id} failed without a reason", hint=problem.hint if problem else ""
        )
        self.job_id = job_id
        if problem:
            self.code, self.title, self.status = problem.code, problem.title, problem.status
            self.category, self.retryable, self.errors = problem.category, problem.retryable, problem.errors


class JobCancelled(JobFailed):
    code, title, status, category = "job_cancelled", "The job was cancelled", 409, "cancelled"

    def __init__(self, job_id: str) -> None:
        ProblemError.__init__(self, f"{job_id} was cancelled")
        self.job_id = job_id
