"""The asynchronous client is the same client."""

import asyncio
import hashlib
import inspect
from pathlib import Path

import pytest

from modelpress.client import AsyncClient, Client, JobFailed
from modelpress.client.effects import iteration, operation
from modelpress.resources import Event
from tests.sdk.client.test_following import END, WHEN, frame, job, stream
from tests.sdk.scripted import Answer, Scripted, as_json, problem


def client_of(service: Scripted) -> AsyncClient:
    return AsyncClient(service.url, "mp_test_key", progress=False, retry_pause=0.001)


def test_both_clients_have_the_same_resources_and_signatures(service: Scripted):
    with Client(service.url, "k") as sync:
        for name in ("uploads", "models", "datasets", "jobs", "artifacts", "techniques", "keys", "service"):
            resource = getattr(sync, name)
            twin = getattr(AsyncClient, name).func
            assert twin.__name__ == name
            methods = [key for key, value in vars(type(resource)).items() if isinstance(value, operation | iteration)]
            assert methods
            for method in methods:
                assert getattr(resource, method).__doc__
                assert "self" not in inspect.signature(getattr(resource, method)).parameters


def test_a_whole_job_awaited(service: Scripted, tmp_path: Path):
    content = b"x" * 5000
    artifact = {"id": "art_1", "job_id": "job_1", "name": "model.onnx", "size_bytes": 5000, "created_at": WHEN}
    artifact["sha256"] = hashlib.sha256(content).hexdigest()
    service.on("POST", "/v1/jobs", problem(503, "unavailable"), job("queued"))
    service.on("GET", "/v1/jobs/job_1", job(), job("succeeded"))
    service.on("GET", "/v1/jobs/job_1/events", stream(frame(1), cut_after=20), stream(frame(1), frame(2), END))
    service.on("GET", "/v1/jobs/job_1/artifacts", as_json({"data": [artifact]}))
    service.on("GET", "/v1/artifacts/art_1/content", Answer(200, content, cut_after=100), Answer(200, content))
    seen: list[int] = []

    async def note(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(event.seq)

    async def work() -> list[bytes]:
        async with client_of(service) as client:
            created = await client.jobs.create("mdl_1", "int8")
            done = await created.wait(on_event=note)
            assert done is created
            return [path.read_bytes() for path in await done.artifacts.download(tmp_path)]

    assert asyncio.run(work()) == [content]
    assert seen == [1, 2]
    keys = {asked.headers["idempotency-key"] for asked in service.calls("POST", "/v1/jobs")}
    assert len(keys) == 1


def test_an_upload_awaited(service: Scripted, tmp_path: Path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"abc")
    base = {"id": "upl_1", "filename": "m.bin", "size_bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    base |= {"created_at": WHEN, "transfer": {"mode": "proxy", "part_size": 2, "parts": 2}}
    service.on("POST", "/v1/uploads", as_json({**base, "state": "pending"}, 201))
    service.on("PUT", "/v1/uploads/upl_1/parts/1", Answer(204))
    service.on("PUT", "/v1/uploads/upl_1/parts/2", Answer(204))
    service.on("POST", "/v1/uploads/upl_1/complete", as_json({**base, "state": "verifying"}, 202))
    service.on("GET", "/v1/uploads/upl_1", as_json({**base, "state": "completed"}))

    async def work() -> str:
        async with client_of(service) as client:
            return (await client.uploads.create(path)).state

    assert asyncio.run(work()) == "completed"
    assert [asked.body for asked in service.asked if asked.method == "PUT"] == [b"ab", b"c"]


def test_events_are_iterated_asynchronously(service: Scripted):
    service.on("GET", "/v1/jobs/job_1", job(), job(), job("succeeded"))
    service.on("GET", "/v1/jobs/job_1/events", stream(frame(1), frame(2), END))

    async def work() -> list[int]:
        async with client_of(service) as client:
            following = await client.jobs.get("job_1")
            return [event.seq async for event in following.stream()]

    assert asyncio.run(work()) == [1, 2]


def test_lists_are_iterated_asynchronously(service: Scripted):
    item = {"id": "job_1", "state": "queued", "is_terminal": False, "created_at": WHEN}
    service.on("GET", "/v1/jobs", as_json({"data": [item, item], "has_more": False}))

    async def work() -> int:
        async with client_of(service) as client:
            return len([found async for found in client.jobs.list()])

    assert asyncio.run(work()) == 2


def test_failures_are_raised_as_on_the_other_side(service: Scripted):
    service.on("GET", "/v1/jobs/job_1", job("failed"))
    service.on("GET", "/v1/jobs/job_1/events", stream(END))

    async def work() -> None:
        async with client_of(service) as client:
            await (await client.jobs.get("job_1")).wait()

    with pytest.raises(JobFailed, match="job_1"):
        asyncio.run(work())


def test_waiting_can_be_cancelled_from_outside(service: Scripted):
    service.on("GET", "/v1/jobs/job_1", job())
    silent = Answer(200, b": hello\n\n", {"Content-Type": "text/event-stream", "Content-Length": "1000"})
    service.on("GET", "/v1/jobs/job_1/events", silent)

    async def work() -> None:
        async with client_of(service) as client:
            following = await client.jobs.get("job_1")
            await asyncio.wait_for(following.wait(), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(work())
