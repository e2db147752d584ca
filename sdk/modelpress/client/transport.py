"""Requests: authorised, identified, retried with back-off; problems become exceptions."""

import random
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from modelpress.client.credentials import Credentials
from modelpress.client.effects import Op, Send, send, sleep
from modelpress.client.errors import UnexpectedAnswer, Unreachable
from modelpress.problem import Problem, ProblemError, error_of

M = TypeVar("M", bound=BaseModel)

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_PAUSE = 8.0
"""Seconds; back-off grows no further."""
LONGEST_WAIT = 60.0
"""Seconds. A `Retry-After` beyond this ends the retries: the caller should know."""


class Transport:
    """What every operation shares; holds no socket."""

    def __init__(self, credentials: Credentials, *, max_retries: int, retry_pause: float) -> None:
        self.credentials = credentials
        self.max_retries = max_retries
        self.retry_pause = retry_pause

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        creates: bool = False,
    ) -> Op[httpx.Response]:
        """The response of a request to the service, retried where that can help.

        A call that `creates` carries an idempotency key, made here once and reused over its retries.

        Raises:
            ProblemError: the subclass for the service's answer, or Unreachable.
        """
        own = {**self.headers(), **(headers or {})}
        if creates:
            own["Idempotency-Key"] = uuid.uuid4().hex
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return (yield from self.retried(Send(method, self.url(path), own, given, json, content)))

    def read(self, model: type[M], method: str, path: str, **options: Any) -> Op[M]:
        """The same, with the body as `model`."""
        return understand(model, (yield from self.call(method, path, **options)))

    def url(self, path: str) -> str:
        return self.credentials.base_url + path

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credentials.api_key}", "X-Request-Id": uuid.uuid4().hex}

    def retried(self, request: Send) -> Op[httpx.Response]:
        """Send until it is answered well, retries are used up, or trying again can't help."""
        attempt = 0
        while True:
            try:
                response = yield from send(request)
            except httpx.TransportError as error:
                if attempt >= self.max_retries:
                    raise unreachable(request.url, error) from error
                wait = self.back_off(attempt)
            else:
                if response.status_code < 400:
                    return response
                if attempt >= self.max_retries or not worth_retrying(response):
                    raise failure(response)
                wait = asked_wait(response)
                wait = self.back_off(attempt) if wait is None else wait
            yield from sleep(wait)
            attempt += 1

    def back_off(self, attempt: int) -> float:
        """Seconds before retry `attempt`, from 0: doubled each time, less up to half of it by chance."""
        return min(LONGEST_PAUSE, self.retry_pause * 2**attempt) * random.uniform(0.5, 1.0)


def segment(identifier: str) -> str:
    """An id as one part of a path: whatever it holds, no other address is asked. Dots too, or `..` would climb."""
    return quote(identifier, safe="").replace(".", "%2E")


def understand(model: type[M], response: httpx.Response) -> M:
    """The body as `model`; raises UnexpectedAnswer where something else answers at this address."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        place = f"{response.request.method} {response.request.url}"
        raise UnexpectedAnswer(
            f"{place} answered {response.status_code} with a body that is no {model.__name__}",
            hint="Check the address, and that client and server are of matching versions.",
        ) from error


def failure(response: httpx.Response) -> ProblemError:
    """The exception for an answer of 400 or more, whether or not it carries a problem."""
    problem = _problem(response)
    if problem is None:
        title = f"HTTP {response.status_code} {response.reason_phrase}".strip()
        detail = f"{response.request.method} {response.request.url} was answered with {title}"
        problem = Problem(title=title, status=response.status_code, code=f"http_{response.status_code}", detail=detail)
        problem.category = "infra" if response.status_code >= 500 else "user"
    problem.request_id = problem.request_id or response.headers.get("X-Request-Id")
    return error_of(problem)


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    said = str(error) or type(error).__name__
    return Unreachable(
        f"{url}: {said}",
        hint="Is the service running, and is MODELPRESS_URL right? `modelpress-server up` starts one here.",
    )


def worth_retrying(response: httpx.Response) -> bool:
    """Whether the same request may be answered better in a while that is worth waiting for."""
    wait = asked_wait(response)
    if wait is not None and wait > LONGEST_WAIT:
        return False
    if response.status_code == 409:
        return wait is not None  # the same idempotency key is still in flight
    problem = _problem(response)
    if response.status_code == 500 and problem is not None:
        return problem.retryable
    return response.status_code in RETRIED


def asked_wait(response: httpx.Response) -> float | None:
    """Seconds that the service asks to be left alone; None if it does not say."""
    return retry_after(response.headers.get("Retry-After"))


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None if there is none to read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
