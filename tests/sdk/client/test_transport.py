"""Retries, keys, problems: operations driven by hand where waiting matters, over a real socket elsewhere."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from modelpress.client import Client, UnexpectedAnswer, Unreachable
from modelpress.client.credentials import Credentials
from modelpress.client.effects import Op, Send, Sleep
from modelpress.client.transport import Transport, retry_after
from modelpress.problem import Conflict, NotFound, ProblemError, RequestInvalid, Unauthorised, Unavailable
from tests.sdk.scripted import Answer, Scripted, as_json, problem

JOB = {"id": "job_1", "state": "queued", "is_terminal": False, "created_at": "2026-01-01T00:00:00Z"}
PROBLEM = b'{"title": "t", "status": 500, "code": "internal", "retryable": false}'


def transport(max_retries: int = 3) -> Transport:
    return Transport(Credentials("http://x", "key"), max_retries=max_retries, retry_pause=1.0)


def drive(op: Op[httpx.Response], answers: list[httpx.Response | Exception]) -> tuple[list[Send], list[float], object]:
    """Answer an operation's requests one by one; what it sent, how long it slept, how it ended."""
    sent, slept, reply = [], [], None
    while True:
        try:
            effect = op.throw(reply) if isinstance(reply, Exception) else op.send(reply)
        except StopIteration as stop:
            return sent, slept, stop.value
        except ProblemError as error:
            return sent, slept, error
        reply = None
        if isinstance(effect, Sleep):
            slept.append(effect.seconds)
        elif isinstance(effect, Send):
            sent.append(effect)
            reply = answers.pop(0)


def answer(status: int, headers: dict[str, str] | None = None, content: bytes = b"{}") -> httpx.Response:
    return httpx.Response(status, headers=headers, content=content, request=httpx.Request("GET", "http://x/"))


@pytest.mark.parametrize(
    "first",
    [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), answer(503), answer(502), answer(429), answer(500)],
)
def test_what_may_pass_is_tried_again(first: httpx.Response | Exception):
    sent, slept, end = drive(transport().call("GET", "/v1/jobs"), [first, answer(200)])
    assert len(sent) == 2
    assert 0.5 <= slept[0] <= 1.0
    assert isinstance(end, httpx.Response)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_what_will_not_pass_is_tried_once(status: int):
    sent, _, end = drive(transport().call("GET", "/v1/jobs"), [answer(status)])
    assert len(sent) == 1
    assert isinstance(end, ProblemError)


def test_a_failure_that_the_service_calls_final_is_not_retried():
    sent, _, end = drive(transport().call("GET", "/v1/jobs"), [answer(500, content=PROBLEM)])
    assert len(sent) == 1
    assert isinstance(end, ProblemError)


def test_pauses_grow_and_end():
    sent, slept, end = drive(transport(max_retries=6).call("GET", "/"), [answer(503) for _ in range(7)])
    assert len(sent) == 7
    for pause, most in zip(slept, [1, 2, 4, 8, 8, 8], strict=True):
        assert most / 2 <= pause <= most
    assert isinstance(end, Unavailable)


def test_retry_after_is_honoured_to_the_second():
    _, slept, _ = drive(transport().call("GET", "/"), [answer(429, {"Retry-After": "7"}), answer(200)])
    assert slept == [7.0]


def test_a_wait_of_many_minutes_is_the_callers_to_decide():
    sent, _, end = drive(transport().call("GET", "/"), [answer(429, {"Retry-After": "3600"})])
    assert len(sent) == 1
    assert isinstance(end, ProblemError)


def test_a_twin_in_flight_is_waited_for():
    sent, slept, _ = drive(
        transport().call("POST", "/", creates=True), [answer(409, {"Retry-After": "1"}), answer(201)]
    )
    assert (len(sent), slept) == (2, [1.0])


@pytest.mark.parametrize(
    "value, seconds", [("3", 3.0), ("0", 0.0), ("-5", 0.0), ("soon", None), ("", None), (None, None)]
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None):
    assert retry_after(value) == seconds


def test_retry_after_as_a_date():
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert soon is not None
    assert 28 < soon <= 30


def test_a_call_keeps_its_idempotency_key_and_request_id_over_its_retries():
    sent, _, _ = drive(transport().call("POST", "/v1/jobs", creates=True), [answer(503), answer(503), answer(201)])
    assert len({request.headers["Idempotency-Key"] for request in sent}) == 1
    assert len({request.headers["X-Request-Id"] for request in sent}) == 1


def test_another_call_has_another_key():
    keys = set()
    for _ in range(2):
        sent, _, _ = drive(transport().call("POST", "/v1/jobs", creates=True), [answer(201)])
        keys.add(sent[0].headers["Idempotency-Key"])
    assert len(keys) == 2


def test_reading_sends_no_idempotency_key():
    sent, _, _ = drive(transport().call("GET", "/v1/jobs"), [answer(200)])
    assert "Idempotency-Key" not in sent[0].headers


def test_the_key_goes_along_and_is_never_shown(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", as_json(JOB))
    client.jobs.get("job_1")
    assert service.asked[0].headers["authorization"] == "Bearer mp_test_key"
    assert "mp_test_key" not in repr(Credentials("http://x", "mp_test_key"))


@pytest.mark.parametrize(
    "status, code, cls",
    [
        (404, "not_found", NotFound),
        (401, "unauthorised", Unauthorised),
        (422, "recipe_invalid", RequestInvalid),
        (409, "x", Conflict),
    ],
)
def test_a_problem_becomes_its_exception_with_code_and_request_id(
    service: Scripted, client: Client, status: int, code: str, cls: type[ProblemError]
):
    service.on("GET", "/v1/jobs/job_1", problem(status, code, X_Request_Id="req_7"))
    with pytest.raises(cls) as raised:
        client.jobs.get("job_1")
    assert (raised.value.code, raised.value.request_id) == (code, "req_7")
    assert raised.value.problem().detail == f"{code} happened"


def test_an_error_page_of_something_in_between_is_told_as_what_it_is(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", Answer(403, b"<html>no</html>", {"Content-Type": "text/html"}))
    with pytest.raises(ProblemError, match="403") as raised:
        client.jobs.get("job_1")
    assert raised.value.code == "http_403"


def test_an_address_where_something_else_answers_is_told_so(service: Scripted, client: Client):
    service.on("GET", "/v1/jobs/job_1", Answer(200, b"<html>welcome</html>"))
    with pytest.raises(UnexpectedAnswer, match="Job"):
        client.jobs.get("job_1")


def test_a_service_that_is_not_there_says_how_to_start_one(service: Scripted):
    with (
        Client("http://127.0.0.1:9", "k", max_retries=1, retry_pause=0.001) as away,
        pytest.raises(Unreachable) as raised,
    ):
        away.jobs.get("job_1")
    assert "modelpress-server up" in raised.value.hint


def test_a_line_cut_in_the_middle_of_an_answer_is_tried_again(service: Scripted, client: Client):
    whole = as_json(JOB)
    service.on("GET", "/v1/jobs/job_1", Answer(200, whole.body, whole.headers, cut_after=10), whole)
    assert client.jobs.get("job_1").state == "queued"


def test_lists_are_read_page_by_page_and_only_as_far_as_needed(service: Scripted, client: Client):
    def page(asked):
        start = int(asked.query.get("cursor", 0))
        data = [{**JOB, "id": f"job_{n}"} for n in range(start, start + 2)]
        return as_json({"data": data, "has_more": start < 4, "next_cursor": str(start + 2)})

    service.on("GET", "/v1/jobs", page)
    assert [job.id for job in client.jobs.list()] == [f"job_{n}" for n in range(6)]
    service.asked.clear()
    assert next(client.jobs.list(state="queued")).id == "job_0"
    assert [asked.query["state"] for asked in service.asked] == ["queued"]


@pytest.mark.parametrize(
    ("job_id", "path"),
    [("a/../b", "/v1/jobs/a%2F%2E%2E%2Fb"), ("..", "/v1/jobs/%2E%2E"), ("a?b#c", "/v1/jobs/a%3Fb%23c")],
)
def test_an_id_is_asked_for_as_it_is(service: Scripted, client: Client, job_id: str, path: str):
    service.on("GET", path, as_json(JOB))
    assert client.jobs.get(job_id).id == "job_1"
