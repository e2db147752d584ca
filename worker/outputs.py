"""Reading what the child left behind, once it is dead: `result.json` and the files in `outputs/`."""

import json
import os
import re
import stat
from pathlib import Path

from pydantic import ValidationError

from modelpress.problem import Problem
from modelpress.result import Result
from store.contents import keep
from store.leases import Made
from worker.events import open_plain_file
from worker.place import Place
from worker.text import plain_json

MOST_RESULT_BYTES = 64 << 20
MOST_ARTIFACTS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,100}")


def read_outcome(job_dir: Path) -> Result | Problem | None:
    """What `result.json` says; None if it is missing or makes no sense."""
    file = open_plain_file(job_dir / "result.json")
    if file is None:
        return None
    with os.fdopen(file, "rb") as content:
        raw = content.read(MOST_RESULT_BYTES + 1)
    try:
        value = plain_json(json.loads(raw)) if len(raw) <= MOST_RESULT_BYTES else None
        if not isinstance(value, dict):
            return None
        return Problem.model_validate(value) if "code" in value else Result.model_validate(value)
    except (ValueError, ValidationError, RecursionError):
        return None


def keep_artifacts(place: Place, project_id: str, job_dir: Path, result: Result) -> list[Made]:
    """Make blobs of the files that the result lists, and make the list say what they are."""
    folder, made = job_dir / "outputs", []
    for artifact in result.artifacts[:MOST_ARTIFACTS]:
        if not _NAME.fullmatch(artifact.name) or not _is_plain(folder, artifact.name):
            continue
        content = keep(place.database, place.blobs, project_id, folder / artifact.name)
        media_type = artifact.media_type if _MEDIA_TYPE.fullmatch(artifact.media_type) else "application/octet-stream"
        made.append(Made(artifact.name, content.sha256, content.size_bytes, media_type))
        artifact.sha256, artifact.bytes, artifact.media_type = content.sha256, content.size_bytes, media_type
    kept = {item.name for item in made}
    result.artifacts = [artifact for artifact in result.artifacts if artifact.name in kept]
    return made


def _is_plain(folder: Path, name: str) -> bool:
    """Whether it is a file of its own in a folder of its own. Nothing changes any more: the child is dead."""
    try:
        place, file = folder.lstat(), (folder / name).lstat()
    except OSError:
        return False
    return stat.S_ISDIR(place.st_mode) and stat.S_ISREG(file.st_mode) and file.st_nlink == 1
