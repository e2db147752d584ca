"""Reads `job.json`."""

import json
from pathlib import Path

from pydantic import ValidationError

from modelpress.base import CONTRACT
from modelpress.job import Job
from modelpress.problem import RequestInvalid
from modelpress.recipe import check_order, field_problems


def read_job(path: Path) -> Job:
    """The job of a folder.

    Raises:
        RequestInvalid: missing, not JSON, of another contract, or with wrong fields, each with its pointer.
    """
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestInvalid(f"{path.name} can't be read: {error}") from error
    if isinstance(raw, dict) and raw.get("contract", CONTRACT) != CONTRACT:
        raise RequestInvalid(
            f"{path.name} is written for version {raw['contract']} of the contract, and this is {CONTRACT}",
            hint="Update the worker, or submit the job with a client of its version.",
        )
    try:
        job = Job.model_validate(raw)
    except ValidationError as error:
        errors = field_problems(error)
        raise RequestInvalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors) from error
    try:
        check_order(list(job.recipe))
    except ValueError as error:
        raise RequestInvalid(str(error)) from error
    return job
