"""Uploads against a service that forgets, stumbles and expires."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from modelpress.client import Client, UploadFailed
from modelpress.problem import FileUnreadable, ModelError, ModelNotOnnx, ProblemError
from tests.sdk.scripted import Asked, Scripted, as_json, problem

CONTENT = bytes(range(256)) * 10
PART = 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(CONTENT)
    return path


def upload(state: str = "pending", mode: str = "proxy", **fields: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    transfer = {"mode": mode, "part_size": PART, "parts": 3}
    base = {"id": "upl_1", "filename": "model.onnx", "size_bytes": len(CONTENT), "sha256": sha256}
    return {**base, "state": state, "transfer": transfer, "created_at": "2026-01-01T00:00:00Z", **fields}


def parts(service: Scripted) -> list[Asked]:
    return [asked for asked in service.asked if asked.method == "PUT"]


@pytest.fixture
def proxy(service: Scripted) -> Scripted:
    """A service that takes parts itself."""
    service.on("POST", "/v1/uploads", as_json(upload(), 201))
    for number in (1, 2, 3):
        service.on("PUT", f"/v1/uploads/upl_1/parts/{number}", as_json({}))
    service.on("POST", "/v1/uploads/upl_1/complete", as_json(upload("verifying"), 202))
    service.on("GET", "/v1/uploads/upl_1", as_json(upload("verifying")), as_json(upload("completed")))
    return service


def test_a_file_goes_up_in_parts_and_is_waited_for(proxy: Scripted, client: Client, file: Path):
    assert client.uploads.create(file).state == "completed"
    assert b"".join(asked.body for asked in parts(proxy)) == CONTENT
    assert proxy.asked[0].json() == {
        "filename": "model.onnx",
        "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }


def test_each_part_carries_its_digest(proxy: Scripted, client: Client, file: Path):
    client.uploads.create(file)
    first = parts(proxy)[0]
    digest = base64.b64encode(hashlib.sha256(CONTENT[:PART]).digest()).decode()
    assert first.headers["content-digest"] == f"sha-256=:{digest}:"


def test_a_part_that_fails_is_sent_again_and_no_other(proxy: Scripted, client: Client, file: Path):
    proxy.on("PUT", "/v1/uploads/upl_1/parts/2", problem(503, "unavailable"), problem(502, "x"), as_json({}))
    client.uploads.create(file)
    assert [asked.path[-1] for asked in parts(proxy)] == ["1", "2", "2", "2", "3"]


def test_what_the_project_already_holds_is_not_sent(service: Scripted, client: Client, file: Path):
    service.on("POST", "/v1/uploads", as_json(upload("completed", mode="none"), 201))
    assert client.uploads.create(file).state == "completed"
    assert len(service.asked) == 1


def test_resuming_sends_only_what_is_missing(proxy: Scripted, client: Client, file: Path):
    there = as_json(upload(received_parts=[1, 3]))
    proxy.on("GET", "/v1/uploads/upl_1", there, as_json(upload("completed")))
    client.uploads.resume("upl_1", file)
    assert [asked.path[-1] for asked in parts(proxy)] == ["2"]
    assert parts(proxy)[0].body == CONTENT[PART : 2 * PART]


def test_giving_up_says_how_to_go_on(proxy: Scripted, client: Client, file: Path):
    proxy.on("PUT", "/v1/uploads/upl_1/parts/2", problem(503, "unavailable"))
    with pytest.raises(ProblemError) as raised:
        client.uploads.create(file)
    assert "--resume upl_1" in raised.value.hint


def test_parts_go_straight_to_the_store_where_there_is_one_without_the_key(
    service: Scripted, client: Client, file: Path
):
    def sign(asked: Asked):
        signed = [
            {"number": n, "url": f"{service.url}/store/{n}?sig=1", "headers": {"x-amz-a": "b"}}
            for n in asked.json()["part_numbers"]
        ]
        return as_json({"parts": signed, "expires_at": "2026-01-01T00:00:00Z"})

    service.on("POST", "/v1/uploads", as_json(upload(mode="direct"), 201))
    service.on("POST", "/v1/uploads/upl_1/sign", sign)
    service.on("PUT", "/store/1", as_json({}))
    service.on("PUT", "/store/2", problem(403, "expired"), as_json({}))
    service.on("PUT", "/store/3", as_json({}))
    service.on("POST", "/v1/uploads/upl_1/complete", as_json(upload("completed"), 202))
    client.uploads.create(file)
    sent = parts(service)
    assert [asked.path for asked in sent] == ["/store/1", "/store/2", "/store/2", "/store/3"]
    assert all("authorization" not in asked.headers and asked.headers["x-amz-a"] == "b" for asked in sent)
    assert [asked.json()["part_numbers"] for asked in service.calls("POST", "/v1/uploads/upl_1/sign")] == [
        [1, 2, 3],
        [2],
    ]


def test_a_hash_that_does_not_match_is_told(proxy: Scripted, client: Client, file: Path):
    proxy.on("GET", "/v1/uploads/upl_1", as_json(upload("failed")))
    with pytest.raises(UploadFailed, match="failed"):
        client.uploads.create(file)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_what_is_no_file_is_told_before_anything_is_sent(service: Scripted, client: Client, tmp_path: Path, name: str):
    with pytest.raises(FileUnreadable):
        client.uploads.create(tmp_path / name)
    assert service.asked == []


def model(state: str, **fields: Any) -> dict[str, Any]:
    return {"id": "mdl_1", "name": "model", "state": state, "created_at": "2026-01-01T00:00:00Z", **fields}


def test_a_model_is_waited_for_until_it_was_looked_at(proxy: Scripted, client: Client, file: Path):
    proxy.on("POST", "/v1/models", as_json(model("validating"), 201))
    proxy.on("GET", "/v1/models/mdl_1", as_json(model("validating")), as_json(model("ready")))
    assert client.models.upload(file, name="mine", tags={"a": "b"}).state == "ready"
    [asked] = proxy.calls("POST", "/v1/models")
    assert asked.json() == {"name": "mine", "upload_id": "upl_1", "tags": {"a": "b"}}
    assert asked.headers["idempotency-key"]


def test_a_rejected_model_raises_the_reason(proxy: Scripted, client: Client, file: Path):
    reason = {"title": "t", "status": 422, "code": "model_not_onnx", "detail": "text", "category": "model"}
    proxy.on("POST", "/v1/models", as_json(model("rejected", error=reason), 201))
    with pytest.raises(ModelNotOnnx, match="text"):
        client.models.upload(file)


def test_a_model_rejected_without_a_reason_still_raises(proxy: Scripted, client: Client, file: Path):
    proxy.on("POST", "/v1/models", as_json(model("rejected"), 201))
    with pytest.raises(ModelError):
        client.models.upload(file)


def test_a_data_set_says_how_it_is_read(proxy: Scripted, client: Client, tmp_path: Path):
    path = tmp_path / "train.npz"
    path.write_bytes(CONTENT)
    made = {"id": "dst_1", "name": "train", "state": "ready", "created_at": "2026-01-01T00:00:00Z"}
    proxy.on("POST", "/v1/datasets", as_json(made, 201))
    client.datasets.upload(path, labels="y", preparation={"scale": 0.5})
    [asked] = proxy.calls("POST", "/v1/datasets")
    sent = asked.json()
    assert (sent["format"], sent["labels"], sent["upload_ids"]) == ("npz", "y", ["upl_1"])
    assert sent["preparation"]["scale"] == 0.5
