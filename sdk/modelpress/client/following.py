"""Following a job to its end, whatever the line does in between.

Before each connection the job itself is asked for (so that a job that ended meanwhile is never waited for), then
its events are read from the last one seen. A cut line costs nothing but a pause; only a service that can't be
reached at all, for longer than the transport retries, ends it.
"""

import time
from collections.abc import Callable, Generator
from typing import Any

import httpx
from pydantic import ValidationError

from modelpress.client.effects import Items, Op, Send, read_line, send, sleep
from modelpress.client.errors import WaitTimeout
from modelpress.client.sse import Message, Parser
from modelpress.client.transport import RETRIED, Transport, failure, segment
from modelpress.problem import ProblemError
from modelpress.resources import Event, Job

SILENCE = 45.0
"""Seconds without a byte, pings included, after which the line counts as dead. The service pings every 15."""

OUTAGE = 120.0
"""Seconds for which a service that can't be reached is waited for, beyond the transport's own retries."""

PROGRESS = "progress"
"""The one type that is not numbered: it tells how things stand, and carries the number of the event before it."""

Deliver = Callable[[Event], "Items[Event] | Op[None]"]
"""An operation that hands one event on."""


class Following:
    """One job being followed."""

    def __init__(self, transport: Transport, job_id: str, *, after: int = 0, timeout: float | None = None) -> None:
        self._transport = transport
        self._job_id = job_id
        self._seq = after
        self._timeout = timeout
        self._began = self._heard = time.monotonic()

    def to_the_end(self, deliver: Deliver) -> Generator[Any, Any, Job]:
        """The finished job, once each of its numbered events was delivered, once and in order.

        Raises:
            WaitTimeout: it was not finished in time.
        """
        idle = 0
        while True:
            before = self._seq
            job = yield from self._round(deliver)
            if job is not None and job.is_terminal:
                return job
            self._check_time()
            idle = 0 if self._seq > before else idle + 1
            yield from sleep(self._transport.back_off(idle))

    def _round(self, deliver: Deliver) -> Generator[Any, Any, Job | None]:
        """The job, if its events could be read to the end of the stream."""
        try:
            job = yield from self._get()
        except ProblemError as error:
            if error.status not in RETRIED or time.monotonic() - self._heard > OUTAGE:
                raise
            return None
        self._heard = time.monotonic()
        if not (yield from self._read_events(deliver)):
            return None
        return job if job.is_terminal else (yield from self._get())

    def _get(self) -> Op[Job]:
        return (yield from self._transport.read(Job, "GET", f"/v1/jobs/{segment(self._job_id)}"))

    def _read_events(self, deliver: Deliver) -> Generator[Any, Any, bool]:
        """Whether the service said that this was the last event; False where the line was cut."""
        parser = Parser()
        try:
            yield from self._open()
        except httpx.TransportError:
            return False
        while True:
            try:
                line = yield from read_line()
            except httpx.TransportError:
                return False
            if line is None:
                return False
            self._check_time()
            message = parser.feed(line)
            if message and message.event == "end":
                return True
            if message:
                yield from self._hand_on(message, deliver)

    def _hand_on(self, message: Message, deliver: Deliver) -> Generator[Any, Any, None]:
        event = _event(message)
        if event is None:
            return
        if event.seq > self._seq or event.type == PROGRESS:
            self._seq = max(self._seq, event.seq)
            yield from deliver(event)

    def _open(self) -> Op[None]:
        headers = {**self._transport.headers(), "Accept": "text/event-stream", "Last-Event-ID": str(self._seq)}
        url = self._transport.url(f"/v1/jobs/{segment(self._job_id)}/events")
        response = yield from send(Send("GET", url, headers, read_timeout=self._patience(), stream=True))
        if response.status_code < 400:
            return
        error = failure(response)
        if error.status < 500 and error.status != 429:
            raise error
        raise httpx.ReadError(str(error))  # as good as a cut line

    def _patience(self) -> float:
        """Seconds to wait for the next byte."""
        left = SILENCE if self._timeout is None else self._timeout - (time.monotonic() - self._began)
        return max(0.01, min(SILENCE, left))

    def _check_time(self) -> None:
        if self._timeout is not None and time.monotonic() - self._began >= self._timeout:
            raise WaitTimeout(f"{self._job_id} is not finished after {self._timeout:g} seconds; it goes on")


def _event(message: Message) -> Event | None:
    """None for what a newer service says in a way that can't be read here."""
    try:
        return Event.model_validate_json(message.data)
    except ValidationError:
        return None
