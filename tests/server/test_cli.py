"""The other commands of `modelpress-server`."""

import signal
import sys
from pathlib import Path

import pytest

from server.processes import run_together
from store import keys
from store.database import Database
from store.settings import Settings

from .conftest import run


def test_a_key_is_printed_alone_and_works(sqlite_url: str, tmp_path: Path) -> None:
    made = run("keys", "create", "--project", "mine", "--scope", "read", database_url=sqlite_url, data_dir=tmp_path)
    assert made.returncode == 0
    database = Database(sqlite_url)
    with database.read() as session:
        caller = keys.check(session, Settings(database_url=sqlite_url), made.stdout.strip())  # pyright: ignore[reportCallIssue] -- the other fields have defaults
        assert (caller.project.name, caller.scopes) == ("mine", frozenset({"read"}))
    database.close()


def test_a_doctor_without_findings_ends_well(sqlite_url: str, tmp_path: Path) -> None:
    found = run("doctor", database_url=sqlite_url, data_dir=tmp_path / "data")
    assert found.returncode == 0
    assert [line.split()[1] for line in found.stdout.splitlines() if line.startswith("ok")][:3] == [
        "data",
        "database",
        "blobs",
    ]


def test_a_doctor_names_what_is_missing_and_the_remedy(tmp_path: Path) -> None:
    away = {"redis_url": "redis://127.0.0.1:1", "s3_bucket": "b", "s3_endpoint": "http://127.0.0.1:1"}
    found = run(
        "doctor",
        data_dir=tmp_path,
        **away,
        s3_access_key="k",
        s3_secret_key="s",
        database_url=f"sqlite:///{tmp_path}/no.db",
    )
    assert found.returncode == 3
    failed = [line.split()[1] for line in found.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["database", "blobs", "broker"]
    assert "modelpress-server migrate" in found.stdout
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("worker", "--device", "tpu"), "no device"),
        (("worker", "--lane", "fast"), "no lane"),
        (("worker",), "MODELPRESS_REDIS_URL"),
        (("keys", "create", "--scope", "everything"), "no scope"),
    ],
)
def test_a_wrong_request_is_one_line_and_a_hint(arguments: tuple[str, ...], word: str, tmp_path: Path) -> None:
    lane = ("--lane", "device") if arguments == ("worker",) else ()
    answer = run(*arguments, *lane, data_dir=tmp_path)
    assert answer.returncode == 1
    assert word in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    answer = run("migrate", data_dir=tmp_path, lease_seconds="soon")
    assert answer.returncode == 1
    assert "lease_seconds" in answer.stderr


SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_processes_run_together_end_together() -> None:
    assert run_together([SLEEP, [sys.executable, "-c", "raise SystemExit(7)"]]) == 7
    assert run_together([SLEEP, [sys.executable, "-c", ""]]) == 1


def test_processes_told_to_stop_end_well() -> None:
    tell = [sys.executable, "-c", "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"]
    assert run_together([SLEEP, tell]) == 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
