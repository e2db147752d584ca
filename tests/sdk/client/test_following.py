"""Following a job over lines that are cut, silent or gone."""

import json
from typing import Any

import pytest

from modelpress.client import Client, JobCancelled, JobFailed, WaitTimeout
from modelpress.client.sse import Message, Parser
from modelpress.problem import NotFound
from modelpress.resources import Event
from tests.sdk.scripted import Answer, Asked, Scripted, as_json, problem

WHEN = "2026-01-01T00:00:00Z"


def job(state: str = "running", **fields: Any) -> Answer:
    is_terminal = state in {"succeeded", "failed", "cancelled"}
    return as_json({"id": "job_1", "state": state, "is_terminal": is_terminal, "created_at": WHEN, **fields})


def frame(seq: int, type: str = "metric", **data: Any) -> bytes:
    event = {"seq": seq, "type": type, "data": data, "created_at": WHEN}
    return f"id: {seq}\nevent: {type}\ndata: {json.dumps(event)}\n\n".encode()


END = b'event: end\ndata: {"state":"succeeded"}\n\n'


def stream(*frames: bytes, cut_after: int | None = None) -> Answer:
    return Answer(200, b": hello\n\n" + b"".join(frames), {"Content-Type": "text/event-stream"}, cut_after)


@pytest.fixture
def running(service: Scripted) -> Scripted:
    """A service whose job runs when it is first asked for, and has succeeded ever after."""
    service.on("GET", "/v1/jobs/job_1", job(), job(), job("succeeded"))
    return service


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def resumed_after(service: Scripted) -> list[str]:
    return [asked.headers["last-event-id"] for asked in service.calls("GET", "/v1/jobs/job_1/events")]


def test_events_come_in_order_and_end_with_the_job(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(1), frame(2), frame(3), END))
    following = client.jobs.get("job_1")
    assert seqs(list(following.stream())) == [1, 2, 3]
    assert following.state == "succeeded"


def test_a_cut_stream_goes_on_after_the_last_event_seen(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job(), job(), job(), job("succeeded"))
    whole = b"".join((frame(1), frame(2)))
    cut = stream(whole, frame(3), cut_after=len(b": hello\n\n" + whole) + 10)
    service.on("GET", "/v1/jobs/job_1/events", cut, stream(frame(3), END))
    assert seqs(list(client.jobs.get("job_1").stream())) == [1, 2, 3]
    assert resumed_after(service) == ["0", "2"]


def test_an_event_that_comes_twice_is_told_once(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(1), frame(1), frame(2), frame(1), END))
    assert seqs(list(client.jobs.get("job_1").stream())) == [1, 2]


def test_progress_is_always_told_for_it_has_no_number_of_its_own(running: Scripted, client: Client):
    told = stream(frame(1), frame(1, "progress", fraction=0.1), frame(1, "progress", fraction=0.2), END)
    running.on("GET", "/v1/jobs/job_1/events", told)
    events = list(client.jobs.get("job_1").stream())
    assert [event.data.get("fraction") for event in events] == [None, 0.1, 0.2]


def test_a_stream_that_ends_without_saying_so_is_taken_up_again(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job(), job(), job("succeeded"))
    service.on("GET", "/v1/jobs/job_1/events", stream(frame(1)), stream(frame(2), END))
    assert seqs(list(client.jobs.get("job_1").stream())) == [1, 2]


def test_the_job_is_asked_for_before_each_connection(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job("succeeded"))
    service.on("GET", "/v1/jobs/job_1/events", stream(cut_after=3), stream(frame(1), END))
    client.jobs.get("job_1").wait()
    last = [asked.path.removeprefix("/v1/jobs/job_1") for asked in service.asked]
    assert last == ["", "", "/events", "", "/events"]


def test_a_service_that_is_busy_or_restarting_is_waited_for(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job(), *[problem(503, "unavailable")] * 12, job("succeeded"))
    service.on("GET", "/v1/jobs/job_1/events", problem(503, "unavailable"), problem(429, "x"), stream(END))
    assert client.jobs.get("job_1").wait().state == "succeeded"


def test_a_stream_may_start_later(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(8), END))
    list(client.jobs.get("job_1").stream(after=7))
    assert resumed_after(running) == ["7"]


def test_wait_tells_each_event_and_answers_the_job_itself(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(1), frame(2), END))
    seen: list[Event] = []
    waiting = client.jobs.get("job_1")
    assert waiting.wait(on_event=seen.append) is waiting
    assert seqs(seen) == [1, 2]
    assert waiting.is_terminal


def test_a_failed_job_raises_its_own_problem(service: Scripted, client: Client):
    error = {"title": "t", "status": 422, "code": "step_failed", "detail": "fc1 is too thin", "hint": "skip it"}
    service.on("GET", "/v1/jobs/job_1", job("failed", error=error))
    service.on("GET", "/v1/jobs/job_1/events", stream(END))
    with pytest.raises(JobFailed, match="fc1") as raised:
        client.jobs.get("job_1").wait()
    assert (raised.value.code, raised.value.hint, raised.value.job_id) == ("step_failed", "skip it", "job_1")
    assert client.jobs.get("job_1").wait(raise_on_failure=False).state == "failed"


def test_a_cancelled_job_raises_that(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job("cancelled"))
    service.on("GET", "/v1/jobs/job_1/events", stream(END))
    with pytest.raises(JobCancelled):
        client.jobs.get("job_1").wait()


def test_waiting_ends_in_time_though_the_line_is_silent(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job())
    # more is announced than comes: the client is left waiting for it
    silent = Answer(200, b": hello\n\n", {"Content-Type": "text/event-stream", "Content-Length": "1000"})
    service.on("GET", "/v1/jobs/job_1/events", silent)
    with pytest.raises(WaitTimeout, match="goes on"):
        client.jobs.get("job_1").wait(timeout=0.3)


def test_an_error_of_the_users_own_callback_is_not_taken_for_a_cut_line(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(1), END))

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.jobs.get("job_1").wait(on_event=broken)


def test_a_job_that_is_not_there_is_not_waited_for(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job(), problem(404, "not_found"))
    with pytest.raises(NotFound):
        client.jobs.get("job_1").wait()


def test_leaving_a_stream_early_is_harmless(running: Scripted, client: Client):
    running.on("GET", "/v1/jobs/job_1/events", stream(frame(1), frame(2), END))
    events = client.jobs.get("job_1").stream()
    assert next(events).seq == 1
    events.close()
    assert client.jobs.get("job_1").state == "succeeded"


def test_cancel_refresh_and_rerun(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job(), job("cancelled"))
    service.on("POST", "/v1/jobs/job_1/cancel", job("cancelling"))
    again = {"id": "job_2", "state": "queued", "is_terminal": False, "parent_job_id": "job_1", "created_at": WHEN}
    service.on("POST", "/v1/jobs/job_1/rerun", as_json(again, 201))
    running = client.jobs.get("job_1")
    assert running.cancel().state == "cancelling"
    assert running.refresh().state == "cancelled"
    rerun = running.rerun()
    assert (rerun.id, rerun.parent_job_id, running.id) == ("job_2", "job_1", "job_1")
    [asked] = service.calls("POST", "/v1/jobs/job_1/rerun")
    assert asked.headers["idempotency-key"]


def test_logs_are_text(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", job())
    service.on(
        "GET", "/v1/jobs/job_1/logs", Answer(200, "étape 1\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})
    )
    assert client.jobs.get("job_1").logs() == "étape 1\n"


def test_a_job_request_is_checked_here_and_sent_whole(service: Scripted, client: Client):
    def create(asked: Asked) -> Answer:
        return as_json(
            {"id": "job_1", "state": "queued", "is_terminal": False, "created_at": WHEN, "seed": asked.json()["seed"]}
        )

    service.on("POST", "/v1/jobs", create)
    made = client.jobs.create("mdl_1", [{"technique": "prune.filters", "macs": 0.5}], train="dst_1", seed=7)
    assert made.seed == 7
    sent = service.asked[0].json()
    assert (sent["model_id"], sent["data"]["train"], sent["recipe"][0]["macs"]) == ("mdl_1", "dst_1", 0.5)
    assert sent["recipe"][0]["criterion"] == "l2"


def test_a_dry_run_creates_nothing(service: Scripted, client: Client):
    service.on("POST", "/v1/jobs", as_json({"recipe": [], "queue_position": 3}))
    assert client.jobs.estimate("mdl_1", "int8").queue_position == 3
    assert service.asked[0].query == {"dry_run": "true"}
    assert "idempotency-key" not in service.asked[0].headers


def test_messages_are_parsed_as_the_standard_says():
    lines = [": ping", "", "id:4", "event: a", "data: one", "data:two", "", "data", "", "retry: 10", ""]
    parser = Parser()
    assert [message for line in lines if (message := parser.feed(line))] == [
        Message("a", "one\ntwo", "4"),
        Message("message", "", "4"),
    ]
