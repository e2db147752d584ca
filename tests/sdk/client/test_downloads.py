"""A download is whole and right, or it is not there."""

import hashlib
import os
from pathlib import Path

import pytest

from modelpress.client import Client, DownloadCorrupt, Unreachable
from modelpress.problem import FileUnreadable, NotFound
from tests.sdk.scripted import Answer, Scripted, as_json, problem

CONTENT = os.urandom(100_000)


def artifact(name: str = "model.onnx", id: str = "art_1") -> dict:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    fields = {"size_bytes": len(CONTENT), "sha256": sha256, "created_at": "2026-01-01T00:00:00Z"}
    return {"id": id, "job_id": "job_1", "name": name, **fields}


@pytest.fixture
def holding(service: Scripted) -> Scripted:
    """A service that holds one artifact of one job."""
    job = {"id": "job_1", "state": "succeeded", "is_terminal": True, "created_at": "2026-01-01T00:00:00Z"}
    service.on("GET", "/v1/jobs/job_1", as_json(job))
    service.on("GET", "/v1/jobs/job_1/artifacts", as_json({"data": [artifact()]}))
    service.on("GET", "/v1/artifacts/art_1", as_json(artifact()))
    service.on("GET", "/v1/artifacts/art_1/content", Answer(200, CONTENT))
    return service


def test_a_jobs_artifacts_come_into_a_folder_that_is_made(holding: Scripted, client: Client, tmp_path: Path):
    paths = client.jobs.get("job_1").artifacts.download(tmp_path / "a" / "b")
    assert paths == [tmp_path / "a" / "b" / "model.onnx"]
    assert paths[0].read_bytes() == CONTENT


def test_a_transfer_that_is_cut_off_is_begun_anew(holding: Scripted, client: Client, tmp_path: Path):
    cut = Answer(200, CONTENT, cut_after=5000)
    holding.on("GET", "/v1/artifacts/art_1/content", cut, cut, Answer(200, CONTENT))
    assert client.artifacts.download("art_1", tmp_path / "m").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["m"]


def test_a_transfer_that_is_always_cut_off_leaves_nothing(holding: Scripted, client: Client, tmp_path: Path):
    holding.on("GET", "/v1/artifacts/art_1/content", Answer(200, CONTENT, cut_after=5000))
    with pytest.raises(Unreachable):
        client.artifacts.download("art_1", tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_wrong_bytes_are_asked_for_again_and_never_kept(holding: Scripted, client: Client, tmp_path: Path):
    wrong = Answer(200, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    holding.on("GET", "/v1/artifacts/art_1/content", wrong, Answer(200, CONTENT))
    assert client.artifacts.download("art_1", tmp_path / "m").read_bytes() == CONTENT
    holding.on("GET", "/v1/artifacts/art_1/content", wrong)
    with pytest.raises(DownloadCorrupt, match="sha256"):
        client.artifacts.download("art_1", tmp_path / "n")
    assert os.listdir(tmp_path) == ["m"]


def test_a_failed_download_leaves_the_file_that_was_there(holding: Scripted, client: Client, tmp_path: Path):
    (tmp_path / "m").write_text("old")
    holding.on("GET", "/v1/artifacts/art_1/content", Answer(200, b"wrong"))
    with pytest.raises(DownloadCorrupt):
        client.artifacts.download("art_1", tmp_path / "m")
    assert (tmp_path / "m").read_text() == "old"


def test_the_content_may_lie_elsewhere_and_the_key_stays_here(holding: Scripted, client: Client, tmp_path: Path):
    elsewhere = f"{holding.url.replace('127.0.0.1', 'localhost')}/store/blob?sig=1"
    holding.on("GET", "/v1/artifacts/art_1/content", Answer(302, b"", {"Location": elsewhere}))
    holding.on("GET", "/store/blob", Answer(200, CONTENT))
    assert client.artifacts.download("art_1", tmp_path / "m").read_bytes() == CONTENT
    [asked] = holding.calls("GET", "/store/blob")
    assert "authorization" not in asked.headers


def test_some_may_be_chosen_by_name(holding: Scripted, client: Client, tmp_path: Path):
    listed = {"data": [artifact(), artifact("report.json", "art_2")]}
    holding.on("GET", "/v1/jobs/job_1/artifacts", as_json(listed))
    artifacts = client.jobs.get("job_1").artifacts
    assert [path.name for path in artifacts.download(tmp_path, names=["model.onnx"])] == ["model.onnx"]
    with pytest.raises(NotFound, match=r"nothing\.txt"):
        artifacts.download(tmp_path, names=["nothing.txt"])


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", ".."])
def test_a_name_that_leads_elsewhere_is_not_written(holding: Scripted, client: Client, tmp_path: Path, name: str):
    holding.on("GET", "/v1/jobs/job_1/artifacts", as_json({"data": [artifact(name)]}))
    with pytest.raises(FileUnreadable, match="plain"):
        client.jobs.get("job_1").artifacts.download(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_artifact_is_told(service: Scripted, client: Client, tmp_path: Path):
    service.on("GET", "/v1/artifacts/art_1", problem(404, "not_found"))
    with pytest.raises(NotFound):
        client.artifacts.download("art_1", tmp_path / "m")
