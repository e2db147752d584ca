"""Jobs through the API: submitted, listed, waited for, cancelled, run again."""

import threading
import time

import httpx
import pytest

from modelpress import resources
from modelpress.problem import StepError
from store import leases, uploads
from tests.workplace import Service

PRUNE = {"technique": "prune.filters", "ratio": 0.5}


def test_a_job_goes_from_submit_to_succeeded_with_its_artifacts(service: Service, client: httpx.Client):
    job = service.job(recipe=[PRUNE], tags={"for": "test"})
    assert job["state"] == "queued"
    assert not job["is_terminal"]
    claimed = service.claim()
    assert claimed is not None
    assert claimed.job_id == job["id"]
    assert [each.name for each in claimed.inputs] == ["model.onnx"]
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "running"
    service.succeed(claimed, {"model.onnx": b"smaller"})
    done = resources.Job.model_validate(client.get(f"/v1/jobs/{job['id']}").json())
    assert done.state == "succeeded"
    assert done.is_terminal
    assert done.result is not None
    assert done.result.candidates[0].measurements[0].value == 1000.0
    [artifact] = client.get(f"/v1/jobs/{job['id']}/artifacts").json()["data"]
    assert client.get(f"/v1/artifacts/{artifact['id']}/content").content == b"smaller"


def test_a_job_submitted_while_its_model_is_validating_waits_for_it(service: Service, client: httpx.Client):
    model_id = service.model(ready=False)
    job = service.job(model_id=model_id)
    assert job["state"] == "waiting"
    service.work_off("inspect")
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_a_waiting_job_whose_recipe_does_not_fit_the_model_fails_with_the_reason(
    service: Service, client: httpx.Client
):
    model_id = service.model(ready=False)
    job = service.job(model_id=model_id, recipe=[PRUNE | {"layers": "nowhere*"}])
    service.work_off("inspect")
    failed = client.get(f"/v1/jobs/{job['id']}").json()
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "recipe_invalid"
    assert failed["error"]["errors"][0]["pointer"] == "/recipe/0/layers/names/0"


def test_a_waiting_job_fails_with_the_reason_its_model_was_rejected_for(service: Service, client: httpx.Client):
    model_id = service.model(ready=False)
    job = service.job(model_id=model_id)
    verify = service.claim("inspect")
    assert verify is not None
    uploads.verify(service.database, service.blobs, verify)
    inspect = service.claim("inspect")
    assert inspect is not None
    with service.database.write() as session:
        leases.fail(session, inspect.token, StepError("it is a text file").problem())
    model = client.get(f"/v1/models/{model_id}").json()
    assert (model["state"], model["error"]["detail"]) == ("rejected", "it is a text file")
    failed = client.get(f"/v1/jobs/{job['id']}").json()
    assert (failed["state"], failed["error"]["code"]) == ("failed", "model_rejected")
    assert "text file" in failed["error"]["detail"]
    again = client.post("/v1/jobs", json={"model_id": model_id, "recipe": []})
    assert (again.status_code, again.json()["code"]) == (409, "model_rejected")


@pytest.mark.parametrize(
    ("recipe", "pointer", "code"),
    [
        ([PRUNE | {"layers": ["conv9"]}], "/recipe/0/layers/names/0", "unknown_layer"),
        ([PRUNE | {"ratio": 0.9, "scope": "layer", "layers": ["conv1"]}], "/recipe/0/ratio", "layer_emptied"),
        ([PRUNE | {"rato": 0.5}], "/recipe/0/rato", "extra_forbidden"),
        ([{"technique": "quantize.int8"}, PRUNE], "/recipe/1", "order"),
        ("no_such_recipe", "/recipe", "unknown_recipe"),
        ([{"technique": "prune.everything"}], "/recipe/0/technique", "union_tag_invalid"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused_at_submit(
    sqlite_service: Service, recipe: object, pointer: str, code: str
):
    model_id = sqlite_service.model()
    answer = sqlite_service.client().post("/v1/jobs", json={"model_id": model_id, "recipe": recipe})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


def test_a_built_in_recipe_is_stored_with_its_defaults_written_out(sqlite_service: Service):
    job = sqlite_service.job(recipe="half_the_macs")
    assert [step["technique"] for step in job["recipe"]] == ["prune.filters", "recover"]
    assert job["recipe"][0]["round_to"] == 8


def test_a_dry_run_checks_and_estimates_and_creates_nothing(sqlite_service: Service):
    client, model_id = sqlite_service.client(), sqlite_service.model()
    claimed = None
    sqlite_service.job(model_id=model_id, recipe=[PRUNE])
    claimed = sqlite_service.claim()
    assert claimed is not None
    sqlite_service.succeed(claimed)
    body = {"model_id": model_id, "recipe": [PRUNE], "device": "cpu"}
    answer = client.post("/v1/jobs?dry_run=true", json=body)
    assert answer.status_code == 200
    estimate = resources.Estimate.model_validate(answer.json())
    assert estimate.seconds is not None
    assert estimate.queue_position == 0
    assert len(client.get("/v1/jobs").json()["data"]) == 1
    assert client.post("/v1/jobs?dry_run=true", json=body | {"recipe": [PRUNE | {"layers": "x"}]}).status_code == 422


def test_a_task_with_labels_needs_data_that_have_some(sqlite_service: Service):
    client, model_id = sqlite_service.client(), sqlite_service.model()
    dataset = {"name": "d", "format": "npz", "upload_ids": [sqlite_service.upload(b"arrays")]}
    dataset_id = client.post("/v1/datasets", json=dataset).json()["id"]
    body = {"model_id": model_id, "recipe": [], "task": {"type": "classification"}}
    assert client.post("/v1/jobs", json=body).json()["errors"][0]["pointer"] == "/data/train"
    answer = client.post("/v1/jobs", json=body | {"data": {"train": dataset_id}})
    assert answer.json()["errors"][0]["code"] == "no_labels"


def test_data_files_get_names_of_ours_in_the_job_folder(service: Service, client: httpx.Client):
    model_id = service.model()
    dataset = {"name": "d", "format": "npz", "labels": "y", "upload_ids": [service.upload(b"arrays")]}
    dataset_id = client.post("/v1/datasets", json=dataset).json()["id"]
    job = service.job(model_id=model_id, data={"train": dataset_id}, task={"type": "classification"})
    assert job["state"] == "waiting"
    service.work_off("inspect")
    claimed = service.claim()
    assert claimed is not None
    assert claimed.spec["data"]["train"]["files"] == ["train-0.bin"]
    assert claimed.spec["data"]["train"]["labels"] == "y"
    assert [each.name for each in claimed.inputs] == ["model.onnx", "train-0.bin"]
    assert client.get(f"/v1/jobs/{job['id']}").json()["data"]["train"] == dataset_id


# -- lists --------------------------------------------------------------------------------------------------


def test_lists_are_newest_first_and_pages_neither_repeat_nor_lose(service: Service, client: httpx.Client):
    model_id = service.model()
    made = [service.job(model_id=model_id, client=client)["id"] for _ in range(7)]
    seen, cursor = [], None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["data"]]
        made_meanwhile = service.job(model_id=model_id, client=client)["id"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == made[::-1]
    assert made_meanwhile not in seen


def test_lists_filter_by_state_kind_and_tag(service: Service, client: httpx.Client):
    model_id = service.model()
    mine = service.job(model_id=model_id, tags={"who": "me", "why": "a:b"})["id"]
    other = service.job(model_id=model_id, tags={"who": "you"})["id"]
    client.post(f"/v1/jobs/{other}/cancel")

    def listed(**query: object) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).raise_for_status().json()["data"]]

    assert listed(state="queued") == [mine]
    assert listed(state="cancelled") == [other]
    assert listed(tag="who:me") == [mine]
    assert listed(tag=["who:me", "why:a:b"]) == [mine]
    assert listed(tag=["who:me", "why:no"]) == []
    assert listed(model_id="mdl_nothing") == []
    assert len(listed(kind="inspect")) == 1
    assert len(listed(created_after="2020-01-01T00:00:00Z")) == 2


@pytest.mark.parametrize("query", ["stat=queued", "limit=0", "limit=101", "cursor=zzz", "state=gone", "tag=nocolon"])
def test_a_list_refuses_what_it_does_not_know(sqlite_service: Service, query: str):
    answer = sqlite_service.client().get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


# -- waiting ------------------------------------------------------------------------------------------------


def test_prefer_wait_answers_as_soon_as_the_job_is_over(service: Service, client: httpx.Client):
    job = service.job()
    claimed = service.claim()
    assert claimed is not None
    answers: list[httpx.Response] = []
    waiting = service.client()
    thread = threading.Thread(
        target=lambda: answers.append(waiting.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=30"}))
    )
    thread.start()
    time.sleep(0.2)
    service.succeed(claimed)
    thread.join(10)
    assert answers[0].json()["state"] == "succeeded"
    assert answers[0].headers["preference-applied"] == "wait"


def test_prefer_wait_answers_an_unfinished_job_when_the_time_is_over(sqlite_service: Service):
    job = sqlite_service.job()
    answer = sqlite_service.client().get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=0"})
    assert answer.json()["state"] == "queued"


# -- cancel and rerun ---------------------------------------------------------------------------------------


def test_cancelling_a_queued_job_ends_it_and_again_changes_nothing(service: Service, client: httpx.Client):
    job = service.job()
    first = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (200, "cancelled")
    again = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert again.json() == first.json()
    assert service.claim() is None


def test_cancelling_a_running_job_is_told_to_its_worker(service: Service, client: httpx.Client):
    job = service.job()
    claimed = service.claim()
    assert claimed is not None
    first = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelling")
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
    with service.database.read() as session:
        assert leases.look(session, claimed.token).cancel_requested
    with service.database.write() as session:
        leases.cancelled(session, claimed.token)
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"


def test_a_result_that_won_the_race_against_cancel_stands(service: Service, client: httpx.Client):
    job = service.job()
    claimed = service.claim()
    assert claimed is not None
    client.post(f"/v1/jobs/{job['id']}/cancel")
    service.succeed(claimed)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "succeeded"


def test_a_rerun_asks_for_the_same_and_names_its_parent(service: Service, client: httpx.Client):
    job = service.job(recipe=[PRUNE], seed=7, priority=3, name="first")
    again = client.post(f"/v1/jobs/{job['id']}/rerun")
    assert again.status_code == 201
    new = again.json()
    assert new["id"] != job["id"]
    assert new["parent_job_id"] == job["id"]
    same = ("recipe", "seed", "priority", "name", "device", "budget", "data")
    assert {key: new[key] for key in same} == {key: job[key] for key in same}


def test_a_deleted_model_takes_no_jobs_and_ends_those_that_wait_for_it(service: Service, client: httpx.Client):
    model_id = service.model(ready=False)
    job = service.job(model_id=model_id)
    assert client.delete(f"/v1/models/{model_id}").status_code == 204
    assert client.get(f"/v1/models/{model_id}").status_code == 404
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert client.post("/v1/jobs", json={"model_id": model_id, "recipe": []}).status_code == 404


def test_an_output_that_the_model_does_not_have_is_not_judged(sqlite_service: Service):
    client = sqlite_service.client()
    body = {"model_id": sqlite_service.model(), "recipe": [], "task": {"type": "match", "output": "nope"}}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/task/output"]
