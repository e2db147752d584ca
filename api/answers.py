"""Rows as they travel. Recipes, results and inspections go out as stored, never parsed again."""

from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from modelpress.resources import TERMINAL
from store import tables
from store.uploads import part_count

FORMATS = {".safetensors": "safetensors"}
"""What a model's first file is, by the ending that it was sent with; no file is opened here."""


class Answer(Response):
    """JSON of plain data; times in RFC 3339."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def page(items: list[dict[str, Any]], cursor: str | None) -> Answer:
    return Answer({"data": items, "has_more": cursor is not None, "next_cursor": cursor})


def moment(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def upload(row: tables.Upload, received: list[int]) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "upload",
        "filename": row.filename,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "state": row.state,
        "transfer": {"mode": row.mode, "part_size": row.part_size, "parts": part_count(row)},
        "received_parts": received,
        "error": row.error,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
    }


def files(rows: list[Any]) -> list[dict[str, Any]]:
    return [{"path": row.path, "size_bytes": row.size_bytes, "sha256": row.sha256} for row in rows]


def model(row: tables.Model, its_files: list[tables.ModelFile], *, full: bool = True) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "model",
        "name": row.name,
        "state": row.state,
        "format": FORMATS.get(PurePath(its_files[0].path).suffix, "onnx") if its_files else "onnx",
        "files": files(its_files),
        "size_bytes": sum(file.size_bytes for file in its_files),
        "inspection": row.inspection if full else None,
        "error": row.error,
        "tags": row.tags,
        "created_at": moment(row.created_at),
    }


def dataset(row: tables.Dataset, its_files: list[tables.DatasetFile]) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "dataset",
        "name": row.name,
        "state": row.state,
        "format": row.format,
        "files": files(its_files),
        "size_bytes": sum(file.size_bytes for file in its_files),
        "error": row.error,
        "tags": row.tags,
        "created_at": moment(row.created_at),
    }


def job(row: tables.Job, public_url: str, *, full: bool = True) -> dict[str, Any]:
    """`full` carries the result, which lists leave out."""
    spec = row.spec
    progress = row.progress | ({"fraction": 1.0} if row.state == "succeeded" else {})
    return {
        "id": row.id,
        "object": "job",
        "kind": row.kind,
        "name": row.name,
        "model_id": row.model_id,
        "state": row.state,
        "is_terminal": row.state in TERMINAL,
        "progress": progress,
        "recipe": spec.get("recipe", []),
        "task": spec.get("task", {}),
        "data": row.data,
        "target": spec.get("target", {}),
        "budget": spec.get("budget", {}),
        "measuring": spec.get("measuring", {}),
        "seed": spec.get("seed", 0),
        "device": row.device,
        "priority": row.priority,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "error": row.error,
        "result": row.result if full else None,
        "parent_job_id": row.parent_job_id,
        "tags": row.tags,
        "contract": row.contract,
        "created_at": moment(row.created_at),
        "queued_at": moment(row.queued_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "deadline_at": moment(row.deadline_at),
        "cancel_requested_at": moment(row.cancel_requested_at),
        "url": f"{public_url}/v1/jobs/{row.id}",
    }


def event(row: tables.JobEvent) -> dict[str, Any]:
    return {"seq": row.seq, "type": row.type, "data": row.data, "created_at": moment(row.created_at)}


def artifact(row: tables.Artifact) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "artifact",
        "job_id": row.job_id,
        "name": row.name,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "media_type": row.media_type,
        "created_at": moment(row.created_at),
    }


def key(row: tables.ApiKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "api_key",
        "name": row.name,
        "scopes": row.scopes,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "revoked_at": moment(row.revoked_at),
        "last_used_at": moment(row.last_used_at),
    }
