"""`modelpress-server up --detach`: returns once the service answers, and leaves it running."""

import os
import signal
import socket
from pathlib import Path

import httpx

from .conftest import run, until


def test_a_detached_service_answers_with_the_printed_key_and_is_found_again(tmp_path: Path) -> None:
    first = run("up", "--detach", "--port", "0", data_dir=tmp_path)
    assert first.returncode == 0, first.stderr
    words = first.stdout.split()
    url, key, pid = words[words.index("on") + 1], words[words.index("key") + 1], int(words[-1])
    try:
        answer = httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        assert answer.status_code == 200
        second = run("up", "--detach", "--port", "0", data_dir=tmp_path)
        assert url in second.stdout
        assert "running already" in second.stdout
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not (tmp_path / "url").exists())


def test_a_service_that_can_t_start_ends_with_its_last_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = run("up", "--detach", "--port", str(taken.getsockname()[1]), data_dir=tmp_path)
    assert found.returncode == 1
    assert "did not come up" in found.stderr
    assert "can't be had" in found.stderr
    assert "Traceback" not in found.stderr
