"""The two drivers: the only places of the client that send, sleep and wait."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any, TypeVar

import httpx

from modelpress.client.effects import Effect, Emit, Items, Op, Read, Send, Sleep, Tell, Work

T = TypeVar("T")

CHUNK = 1 << 20
"""Bytes read at a time from a streamed body."""


def build(http: httpx.Client | httpx.AsyncClient, wanted: Send) -> httpx.Request:
    """The httpx request; only the time-out of reading differs from the client's own."""
    timeout = http.timeout.as_dict()
    if wanted.read_timeout is not None:
        timeout["read"] = wanted.read_timeout
    return http.build_request(
        wanted.method,
        wanted.url,
        headers=wanted.headers,
        params=wanted.params or None,
        json=wanted.json,
        content=wanted.content,
        timeout=httpx.Timeout(**timeout),
    )


class SyncStream:
    """What one operation holds open: at most one response."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._body: Iterator[Any] | None = None

    def perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return self._send(effect)
            case Read():
                assert self._response is not None, "nothing is open to read from"
                if self._body is None:
                    self._body = self._response.iter_lines() if effect.lines else self._response.iter_bytes(CHUNK)
                return next(self._body, None)
            case Sleep():
                return time.sleep(effect.seconds)
            case Work():
                return effect.function()
            case Tell():
                return effect.callback(effect.item)

    def _send(self, wanted: Send) -> httpx.Response:
        self.close()
        response = self._http.send(build(self._http, wanted), stream=wanted.stream)
        if wanted.stream:
            self._response = response
            if response.status_code >= 400:
                response.read()
        return response

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = self._body = None


class SyncDriver:
    """Carries operations out at once."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def iterate(self, op: Items[T]) -> Generator[T, None, None]:
        """The items that the operation emits."""
        with closing(SyncStream(self.http)) as stream, closing(op):
            answer, error = None, None
            while True:
                try:
                    effect = op.throw(error) if error else op.send(answer)
                except StopIteration:
                    return
                answer, error = None, None
                if isinstance(effect, Emit):
                    yield effect.item
                    continue
                try:
                    answer = stream.perform(effect)
                except Exception as raised:
                    error = raised

    def run(self, op: Op[T]) -> T:
        """The operation's result."""
        outcome: list[T] = []
        for _ in self.iterate(_keeping(op, outcome)):
            raise AssertionError("an operation that emits must be iterated")
        return outcome[0]


class AsyncStream:
    """`SyncStream` for the event loop."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[Any] | None = None

    async def perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return await self._send(effect)
            case Read():
                assert self._response is not None, "nothing is open to read from"
                if self._body is None:
                    self._body = self._response.aiter_lines() if effect.lines else self._response.aiter_bytes(CHUNK)
                return await anext(self._body, None)
            case Sleep():
                return await asyncio.sleep(effect.seconds)
            case Work():
                return await asyncio.to_thread(effect.function)
            case Tell():
                said = effect.callback(effect.item)
                return await said if inspect.isawaitable(said) else said

    async def _send(self, wanted: Send) -> httpx.Response:
        await self.aclose()
        response = await self._http.send(build(self._http, wanted), stream=wanted.stream)
        if wanted.stream:
            self._response = response
            if response.status_code >= 400:
                await response.aread()
        return response

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response = self._body = None


class AsyncDriver:
    """Carries operations out as coroutines."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def iterate(self, op: Items[T]) -> AsyncGenerator[T, None]:
        """The items that the operation emits."""
        async with aclosing(AsyncStream(self.http)) as stream:
            with closing(op):
                answer, error = None, None
                while True:
                    try:
                        effect = op.throw(error) if error else op.send(answer)
                    except StopIteration:
                        return
                    answer, error = None, None
                    if isinstance(effect, Emit):
                        yield effect.item
                        continue
                    try:
                        answer = await stream.perform(effect)
                    except Exception as raised:
                        error = raised

    async def run(self, op: Op[T]) -> T:
        """The operation's result."""
        outcome: list[T] = []
        async for _ in self.iterate(_keeping(op, outcome)):
            raise AssertionError("an operation that emits must be iterated")
        return outcome[0]


def _keeping(op: Op[T], outcome: list[T]) -> Items[None]:
    outcome.append((yield from op))
