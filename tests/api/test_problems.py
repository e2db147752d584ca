"""Whatever goes wrong is a problem: same shape, right status, no secrets, service still up."""

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from api.app import create_app
from modelpress.problem import Problem
from modelpress.resources import Catalogue, Version
from store.database import Database
from store.tables import Job
from tests.workplace import Service, make_settings, running, serving


def problem_of(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content)
    assert found.status == answer.status_code
    assert found.request_id == answer.headers["x-request-id"]
    assert found.type == f"urn:modelpress:problem:{found.code}"
    return found


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "not_found"),
        ("GET", "/v1/jobs/", {}, 404, "not_found"),
        ("PATCH", "/v1/jobs", {}, 405, "method_not_allowed"),
        ("GET", "/v1/jobs/mdl_123", {}, 404, "not_found"),
        ("GET", "/v1/jobs/%00", {}, 404, "not_found"),
        ("POST", "/v1/models", {"content": b"{"}, 400, "json_invalid"),
        ("POST", "/v1/models", {"content": b"[]"}, 422, "request_invalid"),
        ("POST", "/v1/models", {"content": b"\xff\xfe"}, 400, "json_invalid"),
        ("POST", "/v1/models", {"json": {"name": "m", "colour": "red"}}, 422, "request_invalid"),
        ("POST", "/v1/models", {"content": b"x" * (3 * 2**20)}, 413, "too_large"),
        ("GET", "/v1/techniques?q=x", {}, 422, "request_invalid"),
    ],
)
def test_every_refusal_is_a_problem(
    sqlite_service: Service, method: str, path: str, fields: dict, status: int, code: str
):
    headers = {"Content-Type": "application/json"}
    answer = sqlite_service.client().request(method, path, headers=headers, **fields)
    found = problem_of(answer)
    assert (found.status, found.code) == (status, code)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_body_that_is_not_said_to_be_json_is_refused(sqlite_service: Service, kind: str | None):
    headers = {"Content-Type": kind} if kind else {}
    answer = sqlite_service.client().post("/v1/models", content=b'{"name": "m"}', headers=headers)
    assert (problem_of(answer).status, problem_of(answer).code) == (415, "unsupported_media_type")


def test_a_body_that_grows_beyond_the_limit_is_refused_too(sqlite_service: Service):
    headers = {"Content-Type": "application/json"}
    answer = sqlite_service.client().post("/v1/models", content=iter([b" " * 2**20] * 3), headers=headers)
    assert problem_of(answer).code == "too_large"


def test_numbers_that_json_has_no_word_for_are_refused(sqlite_service: Service):
    upload_id = sqlite_service.upload(b"a")
    body = json.dumps(
        {"name": "d", "format": "npz", "upload_ids": [upload_id], "preparation": {"mean": [float("nan")]}}
    )
    answer = sqlite_service.client().post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    assert problem_of(answer).errors[0].pointer == "/preparation/mean/0"


def test_text_that_no_database_holds_is_cleaned(service: Service, client: httpx.Client):
    body = json.dumps({"name": "nul\0 and \ud800", "upload_id": service.upload(b"a"), "tags": {"a\0": "b"}})
    answer = client.post("/v1/models", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 201:
        assert "\0" not in answer.json()["name"] + client.get(f"/v1/models/{answer.json()['id']}").json()["name"]
    else:
        assert problem_of(answer).status == 422


def test_a_fault_of_ours_tells_the_client_nothing_but_where_to_ask(sqlite_service: Service):
    job = sqlite_service.job()
    with sqlite_service.database.write() as session:
        session.execute(update(Job).where(Job.id == job["id"]).values(spec=["not", "a", "spec"]))
    answer = sqlite_service.client().get(f"/v1/jobs/{job['id']}")
    assert problem_of(answer).code == "internal"
    assert "Traceback" not in answer.text
    assert "attribute" not in answer.text
    assert sqlite_service.client().get("/v1/jobs?kind=inspect").status_code == 200


def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(tmp_path: Path):
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    app = create_app(make_settings(tmp_path, url), database=Database(url))
    with serving(app) as address:
        headers = {"Authorization": "Bearer mp_x"}
        answer = httpx.get(f"{address}/v1/jobs", headers=headers, trust_env=False)
        assert answer.status_code == 401
        ready = httpx.get(f"{address}/readyz", trust_env=False, timeout=30)
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "away")
        assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize("sent", ["my-id-1", "bad id\tx", "x" * 100])
def test_a_request_has_an_id_the_clients_own_where_it_is_plain(sqlite_service: Service, sent: str):
    answer = sqlite_service.client().get("/v1/jobs", headers={"X-Request-Id": sent})
    assert (answer.headers["x-request-id"] == sent) == (sent == "my-id-1")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_too_many_requests_are_told_to_wait(tmp_path: Path, sqlite_url: str):
    with running(tmp_path, make_settings(tmp_path, sqlite_url, requests_per_minute=3)) as service:
        answers = [service.client().get("/v1/jobs") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert problem_of(answers[3]).code == "rate_limited"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        assert service.client(service.other_key).get("/v1/jobs").status_code == 200


# -- what answers without a project -------------------------------------------------------------------------


def test_the_service_says_how_it_is_and_what_it_can_do(service: Service, client: httpx.Client):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "blobs": "ok"})
    assert Version.model_validate(client.get("/v1/version").json()).contract == 1
    catalogue = Catalogue.model_validate(client.get("/v1/techniques").json())
    assert {recipe.name for recipe in catalogue.recipes} >= {"int8", "half_the_macs", "small_and_fast"}
    filters = next(each for each in catalogue.techniques if each.name == "prune.filters")
    assert (filters.family, filters.stage) == ("pruning", "structure")
    assert "ratio" in filters.schema_["properties"]
    service.job()
    text = client.get("/metrics").text
    assert 'modelpress_jobs{device="cpu",lane="device",state="queued"} 1.0' in text
    assert 'modelpress_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text
