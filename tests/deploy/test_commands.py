"""The stack's own commands, by hand, with its settings and secrets, on real servers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.servers import S3Server


@pytest.fixture
def stack(databases: Databases, redis_url: str, s3_server: S3Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a container of the stack, on an empty database and no bucket yet."""
    name = databases.create()
    secrets = {
        "owner_database_url": databases.url(name, databases.owner),
        "database_url": databases.url(name, databases.app),
        "redis_url": redis_url,
        "s3_access_key": s3_server.access_key,
        "s3_secret_key": s3_server.secret_key,
        "key_pepper": "pepper",
    }
    folder = tmp_path / "secrets"
    folder.mkdir()
    for key, value in secrets.items():
        (folder / f"modelpress_{key}").write_text(value)
    yield {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MODELPRESS_SECRETS_DIR": str(folder),
        "MODELPRESS_DATA_DIR": str(tmp_path / "data"),
        "MODELPRESS_S3_ENDPOINT": s3_server.endpoint,
        "MODELPRESS_S3_BUCKET": f"bucket-{name.replace('_', '-')}",
    }
    databases.drop(name)


def run(stack: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    binary = Path(sys.prefix) / "bin" / "modelpress-server"
    return subprocess.run([binary, *command], env=stack, capture_output=True, text=True)


def test_migrate_makes_what_the_doctor_wants_to_see_and_may_run_again(stack: dict[str, str]):
    before = run(stack, "doctor")
    assert before.returncode == 3
    assert "FAIL  database" in before.stdout
    assert "FAIL  blobs" in before.stdout
    for _ in range(2):
        migrated = run(stack, "migrate")
        assert migrated.returncode == 0, migrated.stderr
    after = run(stack, "doctor")
    assert (after.returncode, after.stdout.count("FAIL")) == (0, 0), after.stdout
    assert "PostgreSQL" in after.stdout
    assert f"bucket {stack['MODELPRESS_S3_BUCKET']}" in after.stdout


def test_the_first_key_comes_alone_on_standard_output(stack: dict[str, str]):
    assert run(stack, "migrate").returncode == 0
    made = run(stack, "keys", "create", "--project", "first")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("mp_")
    assert len(made.stdout.split()) == 1
