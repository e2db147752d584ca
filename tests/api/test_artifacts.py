"""Artifacts: whole, in ranges, and only of the project that made them."""

import pytest

from modelpress.resources import ArtifactInfo
from tests.workplace import Service, sha256_of

CONTENT = bytes(range(200))


@pytest.fixture
def address(sqlite_service: Service) -> str:
    sqlite_service.job()
    claimed = sqlite_service.claim()
    assert claimed is not None
    sqlite_service.succeed(claimed, {'mödel "1".onnx': CONTENT})
    [item] = sqlite_service.client().get(f"/v1/jobs/{claimed.job_id}/artifacts").json()["data"]
    found = ArtifactInfo.model_validate(sqlite_service.client().get(f"/v1/artifacts/{item['id']}").json())
    assert (found.size_bytes, found.sha256) == (200, sha256_of(CONTENT))
    return f"/v1/artifacts/{found.id}/content"


def test_the_whole_file_comes_with_its_name_size_and_hash(sqlite_service: Service, address: str):
    answer = sqlite_service.client().get(address)
    assert answer.content == CONTENT
    assert answer.headers["content-length"] == "200"
    assert answer.headers["etag"] == f'"{sha256_of(CONTENT)}"'
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''m%C3%B6del%20%221%22.onnx"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=190-", 190, 200),
        ("bytes=-5", 195, 200),
        ("bytes=150-999", 150, 200),
        ("bytes=-999", 0, 200),
    ],
)
def test_a_range_comes_alone(sqlite_service: Service, address: str, asked: str, start: int, stop: int):
    answer = sqlite_service.client().get(address, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/200"


@pytest.mark.parametrize("asked", ["bytes=200-", "bytes=500-600", "bytes=9-3", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(sqlite_service: Service, address: str, asked: str):
    answer = sqlite_service.client().get(address, headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_unsatisfiable")
    assert answer.headers["content-range"] == "bytes */200"


def test_the_headers_alone_may_be_asked_for(sqlite_service: Service, address: str):
    asked, told = (sqlite_service.client().request(method, address) for method in ("GET", "HEAD"))
    assert (told.status_code, told.content) == (200, b"")
    for name in ("content-length", "etag", "content-disposition", "content-type", "accept-ranges"):
        assert told.headers[name] == asked.headers[name]


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=-"])
def test_a_range_that_is_not_understood_is_the_whole_file(sqlite_service: Service, address: str, asked: str):
    answer = sqlite_service.client().get(address, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_bytes_that_are_gone_are_told_as_such(sqlite_service: Service, address: str):
    for path in (sqlite_service.settings.data_dir / "blobs" / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    assert sqlite_service.client().get(address).status_code == 404
