"""What belongs to another project does not exist: every operation of the OpenAPI document is tried."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from store.tables import AuditEntry
from tests.workplace import Service, make_settings, running

OPEN = {"/healthz", "/readyz", "/metrics", "/v1/version"}
"""Answer without a key, and tell nothing of anybody."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service, and an id of each kind of thing in the first project."""
    folder = tmp_path_factory.mktemp("tenancy")
    database = folder / "modelpress.db"
    database.write_bytes(migrated_file.read_bytes())
    with running(folder, make_settings(folder, f"sqlite:///{database}")) as service:
        client = service.client()
        announced = {"filename": "f", "size_bytes": 1, "sha256": "a" * 64}
        upload = client.post("/v1/uploads", json=announced).json()
        model_id = service.model()
        dataset = {"name": "d", "format": "npz", "upload_ids": [service.upload(b"an onnx file")]}
        done = service.job(model_id=model_id)
        claimed = service.claim()
        assert claimed is not None
        service.succeed(claimed, {"model.onnx": b"x"})
        artifacts = client.get(f"/v1/jobs/{done['id']}/artifacts").json()["data"]
        yield (
            service,
            {
                "upload_id": upload["id"],
                "number": "1",
                "model_id": model_id,
                "dataset_id": client.post("/v1/datasets", json=dataset).json()["id"],
                "job_id": service.job(model_id=model_id)["id"],
                "artifact_id": artifacts[0]["id"],
                "key_id": client.get("/v1/api_keys").json()["data"][0]["id"],
            },
        )


def operations(service: Service) -> list[tuple[str, str]]:
    document = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()
    return [(method, path) for path, item in document["paths"].items() for method in item]


def body_for(path: str) -> dict[str, Any]:
    if path.endswith("/sign"):
        return {"json": {"part_numbers": [1]}}
    return {"content": b"x"} if "/parts/" in path else {}


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; an answer to HEAD has no body, so that its code is what its status means."""
    if answer.request.method == "HEAD":
        return answer.status_code, {404: "not_found", 401: "unauthorised"}.get(answer.status_code, "")
    return answer.status_code, answer.json()["code"]


def test_every_operation_on_anothers_thing_is_404_and_changes_nothing(two: tuple[Service, dict[str, str]]):
    service, ids = two
    ours, theirs = service.client(), service.client(service.other_key)
    named = [(method, path) for method, path in operations(service) if "{" in path]
    assert len(named) > 15
    state = {path: ours.get(path.format(**ids)).content for method, path in named if method == "get"}
    for method, path in named:
        answer = theirs.request(method, path.format(**ids), **body_for(path))
        assert refused(answer) == (404, "not_found"), (method, path, answer.text)
    for path, before in state.items():
        assert ours.get(path.format(**ids)).content == before, path


def test_lists_show_nothing_of_others(two: tuple[Service, dict[str, str]]):
    service, ids = two
    theirs = service.client(service.other_key)
    lists = [
        path
        for method, path in operations(service)
        if method == "get" and path in ("/v1/jobs", "/v1/models", "/v1/datasets")
    ]
    for path in lists:
        assert theirs.get(path).json()["data"] == []
    for kind in ("inspect", "verify"):
        assert theirs.get("/v1/jobs", params={"kind": kind}).json()["data"] == []
    assert ids["key_id"] not in theirs.get("/v1/api_keys").text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", {"model_id": "{model_id}", "recipe": []}),
        ("/v1/models", {"name": "m", "upload_id": "{upload_id}"}),
        ("/v1/models", {"name": "m", "files": [{"path": "a.onnx", "upload_id": "{upload_id}"}]}),
        ("/v1/datasets", {"name": "d", "format": "npz", "upload_ids": ["{upload_id}"]}),
        ("/v1/jobs", {"model_id": "OWN", "recipe": [], "data": {"train": "{dataset_id}"}}),
    ],
)
def test_nothing_is_made_of_anothers_things(two: tuple[Service, dict[str, str]], path: str, body: dict[str, Any]):
    service, ids = two
    theirs = service.client(service.other_key)
    own = service.model(client=theirs) if body.get("model_id") == "OWN" else ""
    text = re.sub(
        r"\{(\w+)\}", lambda found: ids[found[1]], httpx.Request("POST", "http://x", json=body).content.decode()
    )
    answer = theirs.post(path, content=text.replace("OWN", own), headers={"content-type": "application/json"})
    assert answer.status_code == 404


def test_every_operation_needs_a_key(two: tuple[Service, dict[str, str]]):
    service, ids = two
    for method, path in operations(service):
        answer = httpx.request(method, service.url + path.format(**ids), trust_env=False, **body_for(path))
        if path in OPEN:
            assert answer.status_code == 200, path
        else:
            assert refused(answer) == (401, "unauthorised"), path
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_reading_key_changes_nothing_and_makes_no_keys(two: tuple[Service, dict[str, str]]):
    service, ids = two
    made = service.client().post("/v1/api_keys", json={"name": "reader", "scope": "read"}).json()
    reader = service.client(made["key"])
    for method, path in operations(service):
        answer = reader.request(method, path.format(**ids), **body_for(path))
        allowed = method in ("get", "head") and "api_keys" not in path
        assert (answer.status_code == 403) == (not allowed and path not in OPEN), (method, path, answer.status_code)


def test_a_revoked_key_stops_working_and_is_written_down(two: tuple[Service, dict[str, str]]):
    service, _ = two
    client = service.client()
    made = client.post("/v1/api_keys", json={"name": "short-lived"}).json()
    assert service.client(made["key"]).get("/v1/jobs").status_code == 200
    assert client.delete(f"/v1/api_keys/{made['id']}").status_code == 204
    assert service.client(made["key"]).get("/v1/jobs").status_code == 401
    assert "key" not in client.get(f"/v1/api_keys/{made['id']}").json()
    with service.database.read() as session:
        entries = session.query(AuditEntry).filter(AuditEntry.subject == made["id"]).order_by(AuditEntry.id)
        assert [entry.action for entry in entries] == ["key.create", "key.revoke"]
