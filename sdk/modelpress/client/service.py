"""The service itself: what it can do, how it is."""

import httpx

from modelpress.client.effects import Mode, Op, Send, operation, send
from modelpress.client.resource import Resource
from modelpress.client.transport import unreachable
from modelpress.resources import Catalogue, Version


class Techniques(Resource[Mode]):
    """What may be asked of this service."""

    @operation
    def catalogue(self) -> Op[Catalogue]:
        """Techniques, each with the JSON Schema of its step, and the built-in recipes."""
        return (yield from self._read(Catalogue, "GET", "/v1/techniques"))


class Service(Resource[Mode]):
    """Version and health."""

    @operation
    def version(self) -> Op[Version]:
        """Version of the service and of what it computes with."""
        return (yield from self._read(Version, "GET", "/v1/version"))

    @operation
    def is_ready(self) -> Op[bool]:
        """Whether it would take and run a job now; raises Unreachable where nothing answers."""
        url = self._transport.url("/readyz")
        try:
            response = yield from send(Send("GET", url, self._transport.headers()))
        except httpx.TransportError as error:
            raise unreachable(url, error) from error
        return response.status_code == 200
