"""Claiming: each job once, the right one, by whom it is for."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import update

from modelpress.base import CONTRACT
from store import claims, jobs, workers
from store.claims import Claimed
from store.tables import Job, JobAttempt, Project
from tests.store.conftest import Store


def test_many_workers_claim_every_job_exactly_once(store: Store):
    model_id = store.ready_model()
    made = [store.job(model_id) for _ in range(30)]
    taken: list[Claimed] = []

    def work(name: str) -> None:
        misses = 0
        while misses < 3:  # SKIP LOCKED may find nothing while others hold the last ones
            claimed = store.claim(worker=name)
            misses = 0 if claimed else misses + 1
            if claimed:
                taken.append(claimed)

    threads = [threading.Thread(target=work, args=(f"worker-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(each.job_id for each in taken) == Counter(made)
    assert len({each.token for each in taken}) == len(made)
    with store.database.read() as session:
        assert session.query(JobAttempt).count() == len(made)


def test_ten_rings_for_one_job_are_one_run(store: Store):
    store.job()
    assert [store.claim() is not None for _ in range(10)] == [True] + [False] * 9


def test_higher_priority_goes_first_and_then_the_older_one(store: Store):
    model_id = store.ready_model()
    low, first, second, high = (store.job(model_id, priority=priority) for priority in (-1, 0, 0, 5))
    taken = [claimed.job_id for _ in range(4) if (claimed := store.claim())]
    assert taken == [high, first, second, low]


def test_a_claim_carries_what_the_job_folder_needs(store: Store):
    job_id = store.job(seed=7, budget={"run_seconds": 60, "memory_bytes": 1000})
    claimed = store.claim()
    assert claimed is not None
    assert (claimed.job_id, claimed.kind, claimed.attempt, claimed.checkpoint) == (job_id, "compress", 1, None)
    assert (claimed.spec["id"], claimed.spec["seed"], claimed.spec["model"]) == (job_id, 7, "model.onnx")
    assert (claimed.seconds_left, claimed.memory_bytes) == (60.0, 1000)
    [wanted] = claimed.inputs
    assert wanted.name == "model.onnx"
    assert wanted.key.startswith(f"projects/{store.project.id}/")


def test_a_worker_takes_only_what_its_device_can_run(store: Store):
    job_id = store.job(device="cuda")
    assert store.claim(classes=("cpu",)) is None
    claimed = store.claim(classes=("cuda",))
    assert claimed is not None
    assert claimed.job_id == job_id


def test_a_processor_takes_an_auto_job_only_while_no_gpu_worker_is_alive(store: Store):
    store.job(device="auto")
    with store.database.write() as session:
        workers.seen(session, "gpu-1", "modelpress.cuda")
        assert claims.eligible(session, store.settings) == {"modelpress.cuda": 1}
    assert store.claim(classes=("cpu",)) is None
    with store.database.write() as session:
        workers.gone(session, "gpu-1")
        assert claims.eligible(session, store.settings) == {"modelpress.cuda": 1, "modelpress.cpu": 1}
    assert store.claim(classes=("cpu",)) is not None


def test_a_job_of_a_newer_contract_is_left_to_newer_workers(store: Store):
    job_id = store.job()
    with store.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(contract=CONTRACT + 1))
    assert store.claim() is None


def test_a_job_is_not_claimed_before_its_back_off_is_over(store: Store):
    job_id = store.job()
    with store.database.write() as session:
        session.get_one(Job, job_id).run_after += timedelta(hours=1)
    assert store.claim() is None
    with store.database.write() as session:
        session.get_one(Job, job_id).run_after -= timedelta(hours=2)
    assert store.claim() is not None


def test_a_project_runs_no_more_jobs_at_once_than_it_may(store: Store):
    with store.database.write() as session:
        session.execute(update(Project).where(Project.id == store.project.id).values(max_running_jobs=1))
    model_id = store.ready_model()
    store.job(model_id), store.job(model_id)
    first = store.claim()
    assert first is not None
    assert store.claim() is None


def test_the_lanes_do_not_take_from_each_other(store: Store):
    store.job()
    store.upload()
    inspect, device = store.claim("inspect"), store.claim("device")
    assert inspect is not None
    assert inspect.kind == "verify"
    assert device is not None
    assert device.kind == "compress"


@pytest.mark.parametrize("limit", [1, 2])
def test_a_project_may_queue_no_more_jobs_than_its_quota(store: Store, limit: int):
    store.project.max_queued_jobs = limit
    model_id = store.ready_model()
    for _ in range(limit):
        store.job(model_id)
    with pytest.raises(jobs.QuotaExceeded, match="as many as this project may have"):
        store.job(model_id)
