"""The client of a ModelPress service, in both colours."""

from modelpress.client.client import AsyncClient, Client
from modelpress.client.errors import (
    DownloadCorrupt,
    JobCancelled,
    JobFailed,
    NoService,
    UnexpectedAnswer,
    Unreachable,
    UploadFailed,
    WaitTimeout,
)
from modelpress.client.jobs import Job

__all__ = [
    "AsyncClient",
    "Client",
    "DownloadCorrupt",
    "Job",
    "JobCancelled",
    "JobFailed",
    "NoService",
    "UnexpectedAnswer",
    "Unreachable",
    "UploadFailed",
    "WaitTimeout",
]
