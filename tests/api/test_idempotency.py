"""One effect a key, however often and however simultaneously a request comes."""

import threading

import httpx
import pytest

from store.tables import Model
from tests.workplace import Service


def submit(client: httpx.Client, model_id: str, key: str, **fields: object) -> httpx.Response:
    body = {"model_id": model_id, "recipe": [], "device": "cpu"} | fields
    return client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})


def test_the_same_request_with_the_same_key_is_answered_as_the_first_time(service: Service, client: httpx.Client):
    model_id = service.model()
    first, second = submit(client, model_id, "k1"), submit(client, model_id, "k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_the_same_key_with_another_body_or_route_is_refused(service: Service, client: httpx.Client):
    model_id = service.model()
    submit(client, model_id, "k1")
    other = submit(client, model_id, "k1", seed=1)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    route = client.post("/v1/api_keys", json={"name": "n"}, headers={"Idempotency-Key": "k1"})
    assert (route.status_code, route.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_twins_at_the_same_moment_make_one_job(service: Service, client: httpx.Client):
    model_id, answers = service.model(), []
    start = threading.Barrier(8)

    def send() -> None:
        start.wait()
        answers.append(submit(client, model_id, "twin"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_a_request_that_failed_can_be_repaired_and_sent_with_the_same_key(service: Service, client: httpx.Client):
    model_id = service.model()
    assert submit(client, "mdl_" + "0" * 26, "k1").status_code == 404
    assert submit(client, model_id, "k1").status_code == 201


def test_projects_do_not_share_keys(service: Service, client: httpx.Client):
    submit(client, service.model(), "k1")
    theirs = service.client(service.other_key)
    answer = submit(theirs, service.model(client=theirs), "k1")
    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/models", "/v1/datasets", "/v1/api_keys", "/v1/jobs/{job}/rerun"])
def test_every_creating_request_replays(sqlite_service: Service, path: str):
    client, upload_id = sqlite_service.client(), sqlite_service.upload(b"a")
    bodies = {
        "/v1/uploads": {"filename": "f", "size_bytes": 1, "sha256": "a" * 64},
        "/v1/models": {"name": "m", "upload_id": upload_id},
        "/v1/datasets": {"name": "d", "format": "npz", "upload_ids": [upload_id]},
        "/v1/api_keys": {"name": "k"},
    }
    job_id = sqlite_service.job()["id"]
    answers = [
        client.post(path.format(job=job_id), json=bodies.get(path), headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_a_key_is_short_and_plain(sqlite_service: Service, key: str):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = sqlite_service.client().post("/v1/api_keys", json={"name": "k"}, headers=headers)
    assert answer.status_code == 422


def test_more_writers_than_threads_all_get_their_turn(service: Service, client: httpx.Client):
    model_id, answers = service.model(), []

    def send(number: int) -> None:
        answers.append(submit(client, model_id, "twin" if number % 2 else f"k{number}").status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(60)]
    with service.database.write() as session:
        session.get_one(Model, model_id, with_for_update=True)  # so that they pile up before the lock
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201] * 60
    assert len(client.get("/v1/jobs", params={"limit": 100}).json()["data"]) == 31
