"""Files as the result lists them."""

import hashlib
from pathlib import Path

from modelpress.result import Artifact

MEDIA_TYPES = {
    ".onnx": "application/x-onnx",
    ".json": "application/json",
    ".html": "text/html",
    ".yaml": "application/yaml",
}


def artifact(path: Path) -> Artifact:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    kind = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return Artifact(name=path.name, bytes=path.stat().st_size, sha256=digest, media_type=kind)
