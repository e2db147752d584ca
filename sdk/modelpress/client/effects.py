"""Each call of the client, written once for both colours.

An operation is a generator that yields what it needs done (send this, sleep that long) and returns its result. It
opens no socket and never waits. `modelpress.client.drivers` carries operations out, one driver with `def`, one
with `async def`; the descriptors here turn an operation into a plain method on `Client`'s resources and into a
coroutine method on `AsyncClient`'s.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

import httpx

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Send:
    """Send a request. Answers the response, read whole; or, if `stream`, with its body left for `Read`."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    read_timeout: float | None = None
    stream: bool = False


@dataclass(frozen=True)
class Read:
    """Next line (text, without its end) or next chunk of the streamed response; None at its end."""

    lines: bool = False


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Run something that blocks (hashing, reading a file); off the event loop where there is one."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Tell:
    """Call the user's callback, which may be a coroutine function on the asynchronous side."""

    callback: Callable[[Any], Any]
    item: Any


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hand an item to whoever iterates."""

    item: T


Effect = Send | Read | Sleep | Work | Tell
Op = Generator[Effect, Any, T]
Items = Generator[Effect | Emit[T], Any, None]


def send(request: Send) -> Op[httpx.Response]:
    return cast(httpx.Response, (yield request))


def read_line() -> Op[str | None]:
    return cast("str | None", (yield Read(lines=True)))


def read_chunk() -> Op[bytes | None]:
    return cast("bytes | None", (yield Read()))


def sleep(seconds: float) -> Op[None]:
    yield Sleep(seconds)


def work(function: Callable[[], T]) -> Op[T]:
    return cast(T, (yield Work(function)))


class Sync:
    """Marks resources whose methods return."""


class Async:
    """Marks resources whose methods are awaited."""


Mode = TypeVar("Mode")


class Driver(Protocol):
    """Carries operations out: at once, or as a coroutine."""

    def run(self, op: Op[Any]) -> Any: ...
    def iterate(self, op: Items[Any]) -> Any: ...


class Bound(Generic[Mode]):
    """Base of everything with operations, told apart by `Sync` and `Async` for the type checker."""

    _driver: Driver


class operation(Generic[P, T]):  # noqa: N801 - used as a decorator
    """A generator method, callable as a method on the one side and as a coroutine method on the other."""

    def __init__(self, function: Callable[Concatenate[Any, P], Op[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Bound[Sync], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Bound[Async], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else _bind(self.function, instance, instance._driver.run)


class iteration(Generic[P, T]):  # noqa: N801 - used as a decorator
    """The same for operations that hand over items: an iterator, or an asynchronous one."""

    def __init__(self, function: Callable[Concatenate[Any, P], Items[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Bound[Sync], owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, instance: Bound[Async], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else _bind(self.function, instance, instance._driver.iterate)


def _bind(function: Callable[..., Any], instance: Any, carry_out: Callable[[Any], R]) -> Callable[..., R]:
    method = function.__get__(instance)

    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> R:
        return carry_out(method(*args, **kwargs))

    return call
