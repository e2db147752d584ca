"""`modelpress-server up`: the whole service in one process, without settings."""

import signal
import socket
from pathlib import Path

import httpx
import pytest

from modelpress import Client
from modelpress.problem import ModelNotOnnx, RequestInvalid
from server.embedded import check_address, take_back
from store.migrate import migrate
from tests.workplace import make_settings, running
from worker.sandbox import Found

from .conftest import Start, run, until


def test_up_serves_inspects_and_stops(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start("up", "--port", "0", data_dir=data)
    until((data / "url").exists)
    url, key = (data / "url").read_text().strip(), (data / "key").read_text().strip()
    assert (data / "key").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    until(lambda: is_ready(url))
    assert httpx.get(f"{url}/readyz", trust_env=False).json()["sandbox"] in {"full", "limits"}
    assert httpx.get(f"{url}/v1/jobs", trust_env=False).status_code == 401

    second = run("up", "--port", "0", data_dir=data)
    assert second.returncode == 1
    assert "runs on" in second.stderr
    assert "Traceback" not in second.stderr
    assert (data / "url").read_text().strip() == url

    (tmp_path / "model.onnx").write_text("this is no model")
    with Client(base_url=url, api_key=key) as client, pytest.raises(ModelNotOnnx):
        client.models.upload(tmp_path / "model.onnx")

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not (data / "url").exists()
    assert (data / "key").read_text().strip() == key
    assert process.stdout is not None
    assert url in process.stdout.read()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_sandbox(host: str) -> None:
    check_address(host, Found("limits", ["no Landlock"]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_beyond_loopback_a_full_sandbox_is_needed(host: str) -> None:
    check_address(host, Found("full"))
    with pytest.raises(RequestInvalid, match="no Landlock"):
        check_address(host, Found("limits", ["no Landlock"]))


def test_up_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = run("up", "--port", str(taken.getsockname()[1]), data_dir=tmp_path / "data")
    assert answer.returncode == 1
    assert "can't be had" in answer.stderr


def test_up_with_a_broker_is_refused(tmp_path: Path) -> None:
    answer = run("up", data_dir=tmp_path, redis_url="redis://127.0.0.1:1", s3_bucket="b")
    assert answer.returncode == 1
    assert "MODELPRESS_REDIS_URL" in answer.stderr


def test_jobs_of_a_service_that_died_are_taken_back_at_the_next_start(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.database_url)
    with running(tmp_path, settings) as service:
        job = service.job()
        assert service.claim() is not None
        assert take_back(settings, service.database) == [job["id"]]
        assert service.client().get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"
        again = service.claim()
        assert again is not None
        assert (again.job_id, again.attempt) == (job["id"], 1)


def test_leases_in_a_shared_database_are_left_alone(tmp_path: Path, sqlite_url: str) -> None:
    with running(tmp_path, make_settings(tmp_path, sqlite_url)) as service:
        service.job()
        assert service.claim() is not None
        assert take_back(service.settings, service.database) == []
