"""Problems that only the service knows."""

from modelpress.problem import Conflict, ProblemError


class WorkerLost(ProblemError):
    code, title, status, category, retryable = "worker_lost", "The worker that ran the job is gone", 500, "infra", True


class QueueTimeout(ProblemError):
    code, title, status, category = "queue_timeout", "No device came free in the time allowed", 422, "timeout"


class UploadMismatch(ProblemError):
    code, title, status, category = "upload_mismatch", "The bytes that came are not those announced", 422, "user"


class UploadIncomplete(Conflict):
    code, title = "upload_incomplete", "Parts of the upload are missing"


class ModelRejected(Conflict):
    code, title = "model_rejected", "The model was rejected"


class DatasetRejected(Conflict):
    code, title = "dataset_rejected", "The data set was rejected"


class QuotaExceeded(ProblemError):
    code, title, status, category = "quota_exceeded", "The project has no room for this", 429, "resource"


class TooLarge(ProblemError):
    code, title, status, category = "too_large", "This is larger than what is taken", 413, "resource"


class RateLimited(ProblemError):
    code, title, status, category, retryable = "rate_limited", "Too many requests with this key", 429, "resource", True

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail, hint="Wait as long as `Retry-After` says.")
        self.retry_after = retry_after


class IdempotencyKeyReused(ProblemError):
    code, title, status, category = "idempotency_key_reused", "This key came with another request before", 422, "user"


class IdempotencyInFlight(Conflict):
    code, title, retryable = "idempotency_in_flight", "The first request with this key is still running", True
    retry_after = 1.0


class RangeUnsatisfiable(ProblemError):
    code, title, status, category = "range_unsatisfiable", "The range lies outside the file", 416, "user"

    def __init__(self, detail: str, *, size: int) -> None:
        super().__init__(detail)
        self.size = size
