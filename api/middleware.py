"""Around every request: an id, a line in the log, a count, a bounded body, and headers that harm nobody."""

import re
import time
import uuid

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import fault_response, problem_response
from store.problems import TooLarge

log = structlog.get_logger("api.access")

_OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
STREAMED = re.compile(r"/v1/uploads/[^/]+/parts/\d+")
"""The one address whose body is not read whole."""


class Requests:
    """Identify, log, count."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self._count = Counter(
            "modelpress_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._time = Histogram("modelpress_request_seconds", "Time to the first byte.", ["route"], registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _OWN_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.perf_counter()

        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
                self._note(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, answer)
            except Exception as error:  # a fault of ours, or of a library
                if has_begun:
                    raise
                await fault_response(Request(scope), error)(scope, receive, answer)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._count.labels(scope["method"], route, status).inc()
        self._time.labels(route).observe(seconds)
        if scope["path"] not in _QUIET:
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1e3, 1))


class SmallBodies:
    """Reads bodies whole, up to a limit, before anything else happens; parts of uploads pass as they are."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or STREAMED.fullmatch(scope["path"]):
            return await self.app(scope, receive, send)
        body, last = bytearray(), False
        declared = Headers(scope=scope).get("content-length", "0")
        too_large = declared.isdigit() and int(declared) > self._most
        while not last and not too_large:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            last = not message.get("more_body", False)
            too_large = len(body) > self._most
        if too_large:
            error = TooLarge(f"at most {self._most} bytes are taken here", hint="Files go to /v1/uploads, in parts.")
            return await problem_response(Request(scope), error)(scope, receive, send)
        unread = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)
