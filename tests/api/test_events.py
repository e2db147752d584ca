"""Events as a page and as a stream, and logs while a job runs and after."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from modelpress.events import MetricEvent, Progress, StepStarted
from modelpress.result import Result
from store import events, leases, logs
from store.claims import Claimed
from tests.workplace import Service


def say(service: Service, claimed: Claimed, *said: object) -> None:
    with service.database.write() as session:
        events.record(session, service.settings, claimed.token, said)  # type: ignore[arg-type]


def frames(service: Service, job_id: str, last: int | None = None) -> Iterator[dict[str, str]]:
    """Frames of the stream as they come; comments are frames of their own."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(last)} if last is not None else {})
    with service.client().stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        frame: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                frame[name or "comment"] = value
            else:
                yield frame
                frame = {}


def told(service: Service, job_id: str, last: int | None = None) -> list[dict[str, str]]:
    return [frame for frame in frames(service, job_id, last) if "data" in frame]


def running_job(service: Service) -> Claimed:
    service.job()
    claimed = service.claim()
    assert claimed is not None
    return claimed


def test_a_stream_tells_everything_as_it_happens_and_ends_with_the_job(service: Service):
    claimed = running_job(service)

    def work() -> None:
        for number in range(3):
            say(service, claimed, StepStarted(step=number, technique="recover"))
            say(service, claimed, Progress(phase="compressing", fraction=number / 4))
            time.sleep(0.15)
        service.succeed(claimed)

    thread = threading.Thread(target=work)
    thread.start()
    seen = told(service, claimed.job_id)
    thread.join()
    numbered = [frame for frame in seen if "id" in frame]
    assert [int(frame["id"]) for frame in numbered] == [1, 2, 3, 4, 5, 6]
    assert [frame["event"] for frame in numbered] == ["state", "state", *["step.started"] * 3, "state"]
    progress = [json.loads(frame["data"]) for frame in seen if frame["event"] == "progress"]
    assert [each["data"]["fraction"] for each in progress][-1] == 0.5
    assert seen[-1] == {"event": "end", "data": '{"state":"succeeded"}'}


def test_a_stream_goes_on_after_the_last_event_seen(service: Service):
    claimed = running_job(service)
    say(service, claimed, *(MetricEvent(subject="s", metric="m", value=float(i)) for i in range(5)))
    service.succeed(claimed)
    whole = [frame["id"] for frame in told(service, claimed.job_id) if "id" in frame]
    assert whole == [str(i) for i in range(1, 9)]
    for cut in (0, 3, 8):
        assert [frame["id"] for frame in told(service, claimed.job_id, cut) if "id" in frame] == whole[cut:]


def test_silence_is_broken_by_pings(sqlite_service: Service):
    claimed = running_job(sqlite_service)
    stream = frames(sqlite_service, claimed.job_id)
    seen = [next(stream) for _ in range(5)]
    stream.close()
    assert [frame.get("comment") for frame in seen if "comment" in frame][-1] == "ping"


def test_a_watcher_that_leaves_stops_nothing(sqlite_service: Service):
    claimed = running_job(sqlite_service)
    for _ in range(5):
        stream = frames(sqlite_service, claimed.job_id)
        next(stream)
        stream.close()
    sqlite_service.succeed(claimed)
    assert told(sqlite_service, claimed.job_id)[-1]["event"] == "end"


def test_many_watchers_cost_one_query_a_round(sqlite_service: Service):
    claimed, ends = running_job(sqlite_service), []
    threads = [
        threading.Thread(target=lambda: ends.append(told(sqlite_service, claimed.job_id)[-1]["event"]))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    sqlite_service.succeed(claimed)
    for thread in threads:
        thread.join(20)
    assert ends == ["end"] * 20


def test_events_come_in_pages_too(service: Service, client: httpx.Client):
    claimed = running_job(service)
    say(service, claimed, *(MetricEvent(subject="s", metric="m", value=float(i)) for i in range(5)))
    first = client.get(f"/v1/jobs/{claimed.job_id}/events", params={"limit": 4}).json()
    assert [event["seq"] for event in first["data"]] == [1, 2, 3, 4]
    assert first["has_more"]
    rest = client.get(f"/v1/jobs/{claimed.job_id}/events", params={"after": first["next_cursor"]}).json()
    assert [event["seq"] for event in rest["data"]] == [5, 6, 7]
    assert rest["data"][0]["data"] == {"type": "metric", "subject": "s", "metric": "m", "value": 2.0, "unit": ""}


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_none_is_refused(sqlite_service: Service, last: str):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    answer = sqlite_service.client().get(f"/v1/jobs/{sqlite_service.job()['id']}/events", headers=headers)
    assert answer.status_code == 422


def test_a_stream_of_a_job_that_is_not_there_is_a_404_not_an_empty_stream(sqlite_service: Service):
    headers = {"Accept": "text/event-stream"}
    answer = sqlite_service.client().get(f"/v1/jobs/job_{'0' * 26}/events", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_log_can_be_followed_while_the_job_runs_and_read_whole_after(service: Service, client: httpx.Client):
    claimed = running_job(service)
    address = f"/v1/jobs/{claimed.job_id}/logs"

    def write(text: bytes) -> None:
        with service.database.write() as session:
            logs.append(session, service.settings, claimed.token, text)

    assert client.get(address).text == ""
    write(b"one\n")
    first = client.get(address)
    assert (first.text, first.headers["x-complete"]) == ("one\n", "false")
    write("zwei ü\n".encode())
    offset = first.headers["x-next-offset"]
    assert client.get(address, params={"after": offset}).text == "zwei ü\n"
    with service.database.write() as session:
        leases.finish(session, claimed.token, Result())
    before = client.get(address)
    logs.archive(service.database, service.blobs, claimed.job_id)
    after = client.get(address)
    assert before.text == after.text == "one\nzwei ü\n"
    assert after.headers["x-complete"] == "true"
    assert client.get(address, params={"after": offset}).text == "zwei ü\n"
