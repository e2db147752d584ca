"""Uploads over HTTP: in parts, resumed, cut off, damaged; never visible unless whole."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelpress import resources
from tests.servers import S3Server
from tests.workplace import Service, make_settings, running, sha256_of

PART = 5 * 2**20
CONTENT = bytes(range(256)) * (2 * PART // 256) + b"the last, short part"


@pytest.fixture
def parted(tmp_path: Path, sqlite_url: str) -> Iterator[Service]:
    """A service with the smallest parts there are, and little patience."""
    with running(tmp_path, make_settings(tmp_path, sqlite_url, part_bytes=PART, part_idle_seconds=0.5)) as started:
        yield started


def announce(service: Service, content: bytes = CONTENT, **fields: object) -> dict[str, object]:
    body = {"filename": "big.onnx", "size_bytes": len(content), "sha256": sha256_of(content)} | fields
    return service.client().post("/v1/uploads", json=body).raise_for_status().json()


def part_of(number: int) -> bytes:
    return CONTENT[(number - 1) * PART : number * PART]


def test_an_upload_goes_on_where_it_stopped(parted: Service):
    client = parted.client()
    upload = resources.Upload.model_validate(announce(parted))
    assert (upload.state, upload.transfer.mode, upload.transfer.parts) == ("pending", "proxy", 3)
    for number in (3, 1):
        client.put(f"/v1/uploads/{upload.id}/parts/{number}", content=part_of(number)).raise_for_status()
    missing = client.post(f"/v1/uploads/{upload.id}/complete")
    assert (missing.status_code, missing.json()["code"]) == (409, "upload_incomplete")
    assert client.get(f"/v1/uploads/{upload.id}").json()["received_parts"] == [1, 3]
    client.put(f"/v1/uploads/{upload.id}/parts/2", content=part_of(2)).raise_for_status()
    for _ in range(2):
        completed = client.post(f"/v1/uploads/{upload.id}/complete")
        assert (completed.status_code, completed.json()["state"]) == (202, "verifying")
    parted.work_off("inspect")
    assert client.get(f"/v1/uploads/{upload.id}").json()["state"] == "completed"


def test_bytes_that_are_here_are_not_sent_again(parted: Service):
    parted.upload(CONTENT)
    parted.work_off("inspect")
    again = resources.Upload.model_validate(announce(parted))
    assert (again.state, again.transfer.mode, again.transfer.parts) == ("completed", "none", 0)


def test_a_wrong_hash_ends_in_a_failed_upload_and_nothing_is_kept(parted: Service):
    upload = announce(parted, sha256="0" * 64)
    client = parted.client()
    for number in (1, 2, 3):
        client.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=part_of(number)).raise_for_status()
    client.post(f"/v1/uploads/{upload['id']}/complete")
    parted.work_off("inspect")
    failed = client.get(f"/v1/uploads/{upload['id']}").json()
    assert (failed["state"], failed["error"]["code"]) == ("failed", "upload_mismatch")
    assert not [path for path in (parted.settings.data_dir / "blobs").rglob("*") if path.is_file()]
    refused = client.post("/v1/models", json={"name": "m", "upload_id": upload["id"]})
    assert refused.status_code == 409


def test_a_part_cut_off_on_the_way_leaves_nothing_and_the_service_up(parted: Service):
    upload = announce(parted)
    host, port = parted.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = (
            f"PUT /v1/uploads/{upload['id']}/parts/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Authorization: Bearer {parted.key}\r\n"
        )
        line.sendall((head + f"Content-Length: {PART}\r\n\r\n").encode() + b"x" * 1000)
    client = parted.client()
    assert client.get(f"/v1/uploads/{upload['id']}").json()["received_parts"] == []
    client.put(f"/v1/uploads/{upload['id']}/parts/1", content=part_of(1)).raise_for_status()
    assert client.get(f"/v1/uploads/{upload['id']}").json()["received_parts"] == [1]


def test_a_sender_that_falls_silent_is_not_waited_for(parted: Service):
    upload = announce(parted)
    host, port = parted.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as line:
        head = (
            f"PUT /v1/uploads/{upload['id']}/parts/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Authorization: Bearer {parted.key}\r\n"
        )
        line.sendall((head + f"Content-Length: {PART}\r\n\r\n").encode() + b"x" * 1000)
        answer = b"".join(iter(lambda: line.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 422")
    assert "upload_mismatch" in answer


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"too short", {}, 422),
        (CONTENT[: PART + 1], {}, 422),
        (CONTENT[:PART], {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}, 422),
        (CONTENT[:PART], {"Content-Digest": "md5=:AAAA:"}, 422),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_refused(
    parted: Service, content: bytes, headers: dict[str, str], status: int
):
    upload, client = announce(parted), parted.client()
    answer = client.put(f"/v1/uploads/{upload['id']}/parts/1", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert client.get(f"/v1/uploads/{upload['id']}").json()["received_parts"] == []


def test_a_part_with_its_digest_is_taken(parted: Service):
    upload, client = announce(parted), parted.client()
    digest = base64.b64encode(hashlib.sha256(part_of(1)).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:"}
    answer = client.put(f"/v1/uploads/{upload['id']}/parts/1", content=part_of(1), headers=headers)
    assert answer.status_code == 204


def test_parts_of_unknown_length_are_bounded_too(parted: Service):
    upload, client = announce(parted), parted.client()
    answer = client.put(f"/v1/uploads/{upload['id']}/parts/3", content=iter([b"x" * 1000, b"y" * 1000]))
    assert answer.status_code == 422


@pytest.mark.parametrize("number", [0, 4, 99999])
def test_parts_that_the_upload_does_not_have_are_refused(parted: Service, number: int):
    upload = announce(parted)
    answer = parted.client().put(f"/v1/uploads/{upload['id']}/parts/{number}", content=b"x")
    assert answer.status_code in (404, 422)


def test_an_aborted_upload_takes_no_more_and_leaves_no_files(parted: Service):
    upload, client = announce(parted), parted.client()
    client.put(f"/v1/uploads/{upload['id']}/parts/1", content=part_of(1))
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert list((parted.settings.data_dir / "blobs" / "staging").iterdir()) == []
    assert client.put(f"/v1/uploads/{upload['id']}/parts/1", content=part_of(1)).status_code == 409
    assert client.post(f"/v1/uploads/{upload['id']}/complete").status_code == 409


def test_an_upload_that_is_not_completed_makes_no_model(parted: Service):
    upload = announce(parted)
    answer = parted.client().post("/v1/models", json={"name": "m", "upload_id": upload["id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/b", "..", ".hidden", "", "a\0b", "a\nb", "x" * 250, "\\\\server\\x"]
)
def test_a_model_file_has_a_plain_name(sqlite_service: Service, path: str):
    upload_id = sqlite_service.upload(b"a")
    body = {"name": "m", "files": [{"path": path, "upload_id": upload_id}]}
    answer = sqlite_service.client().post(
        "/v1/models", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/files/0/path"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "m"},
        {"name": "m", "upload_id": "UPLOAD", "files": [{"path": "a", "upload_id": "UPLOAD"}]},
        {"name": "m", "files": [{"path": "a", "upload_id": "UPLOAD"}, {"path": "A", "upload_id": "UPLOAD"}]},
    ],
)
def test_a_model_is_made_of_one_file_or_of_several_different_ones(sqlite_service: Service, body: dict[str, object]):
    text = json.dumps(body).replace("UPLOAD", sqlite_service.upload(b"a"))
    answer = sqlite_service.client().post("/v1/models", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422


# -- S3 -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["direct", "proxy"])
def on_s3(request: pytest.FixtureRequest, tmp_path: Path, sqlite_url: str, s3_server: S3Server) -> Iterator[Service]:
    fields = {
        "s3_endpoint": s3_server.endpoint,
        "s3_public_endpoint": s3_server.endpoint if request.param == "direct" else None,
        "s3_bucket": s3_server.bucket,
        "s3_access_key": s3_server.access_key,
        "s3_secret_key": s3_server.secret_key,
    }
    with running(tmp_path, make_settings(tmp_path, sqlite_url, part_bytes=PART, **fields)) as started:
        yield started


def test_an_upload_and_a_download_go_straight_to_s3_or_through_us(on_s3: Service):
    client, is_direct = on_s3.client(), on_s3.settings.s3_public_endpoint is not None
    upload = resources.Upload.model_validate(announce(on_s3))
    assert upload.transfer.mode == ("direct" if is_direct else "proxy")
    with httpx.Client(trust_env=False, verify=False) as bare:
        for number in (2, 1, 3):
            if is_direct:
                answer = client.post(f"/v1/uploads/{upload.id}/sign", json={"part_numbers": [number]}).json()
                [signed] = resources.SignedParts.model_validate(answer).parts
                bare.put(signed.url, content=part_of(number), headers=signed.headers).raise_for_status()
            else:
                client.put(f"/v1/uploads/{upload.id}/parts/{number}", content=part_of(number)).raise_for_status()
        assert client.get(f"/v1/uploads/{upload.id}").json()["received_parts"] == [1, 2, 3]
        client.post(f"/v1/uploads/{upload.id}/complete").raise_for_status()
        on_s3.work_off("inspect")
        assert client.get(f"/v1/uploads/{upload.id}").json()["state"] == "completed"
        model = client.post("/v1/models", json={"name": "m", "upload_id": upload.id}).json()
        on_s3.work_off("inspect")
        on_s3.job(model_id=model["id"])
        claimed = on_s3.claim()
        assert claimed is not None
        assert b"".join(on_s3.blobs.read(claimed.inputs[0].key)) == CONTENT
        on_s3.succeed(claimed, {"model.onnx": b"smaller"})
        [artifact] = client.get(f"/v1/jobs/{claimed.job_id}/artifacts").json()["data"]
        content = client.get(f"/v1/artifacts/{artifact['id']}/content")
        if is_direct:
            assert content.status_code == 302
            assert "Authorization" not in content.headers["location"]
            content = bare.get(content.headers["location"])
            told = client.get(f"/v1/artifacts/{artifact['id']}/content?redirect=false").json()
            assert told["sha256"] == artifact["sha256"]
        assert content.content == b"smaller"
        assert "model.onnx" in content.headers["content-disposition"]


def test_parts_go_where_the_upload_says(on_s3: Service):
    upload, client = announce(on_s3), on_s3.client()
    if on_s3.settings.s3_public_endpoint:
        assert client.put(f"/v1/uploads/{upload['id']}/parts/1", content=part_of(1)).status_code == 409
    else:
        assert client.post(f"/v1/uploads/{upload['id']}/sign", json={"part_numbers": [1]}).status_code == 409
