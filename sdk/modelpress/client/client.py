"""The client: one object a service, its resources as attributes."""

from functools import cached_property
from typing import Generic, Self

import httpx

from modelpress.client.artifacts import Artifacts
from modelpress.client.credentials import Credentials, find_credentials
from modelpress.client.datasets import Datasets
from modelpress.client.drivers import AsyncDriver, SyncDriver
from modelpress.client.effects import Async, Driver, Mode, Sync
from modelpress.client.jobs import Jobs
from modelpress.client.keys import Keys
from modelpress.client.models import Models
from modelpress.client.service import Service, Techniques
from modelpress.client.transport import Transport
from modelpress.client.uploads import Uploads
from modelpress.progress import Bars

CONNECT_SECONDS = 10.0


class Resources(Generic[Mode]):
    """What `Client` and `AsyncClient` have in common: everything but the way of waiting."""

    _driver: Driver

    def __init__(self, transport: Transport, bars: Bars) -> None:
        self._transport = transport
        self._bars = bars

    @property
    def base_url(self) -> str:
        return self._transport.credentials.base_url

    @cached_property
    def uploads(self) -> Uploads[Mode]:
        return Uploads(self._transport, self._driver, self._bars)

    @cached_property
    def models(self) -> Models[Mode]:
        return Models(self._transport, self._driver, self._bars)

    @cached_property
    def datasets(self) -> Datasets[Mode]:
        return Datasets(self._transport, self._driver, self._bars)

    @cached_property
    def jobs(self) -> Jobs[Mode]:
        return Jobs(self._transport, self._driver, self._bars)

    @cached_property
    def artifacts(self) -> Artifacts[Mode]:
        return Artifacts(self._transport, self._driver, self._bars)

    @cached_property
    def techniques(self) -> Techniques[Mode]:
        return Techniques(self._transport, self._driver, self._bars)

    @cached_property
    def keys(self) -> Keys[Mode]:
        return Keys(self._transport, self._driver, self._bars)

    @cached_property
    def service(self) -> Service[Mode]:
        return Service(self._transport, self._driver, self._bars)


class Client(Resources[Sync]):
    """A ModelPress service.

        with modelpress.Client() as client:
            model = client.models.upload("model.onnx")
            job = client.jobs.create(model, "half_the_macs", train=data).wait()
            job.artifacts.download("out")

    Args:
        base_url: left out means MODELPRESS_URL, or else the service that `modelpress-server up` runs here.
        api_key: left out means MODELPRESS_API_KEY, or else that service's own.
        timeout: seconds for one answer; waiting for a job has its own.
        max_retries: how often a request that failed for a passing reason is sent again.
        retry_pause: seconds before the first retry, doubled each time up to eight; Retry-After wins.
        progress: whether to draw progress bars; left out means where a person watches stderr.

    Raises:
        NoService: no address or no key was found.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        max_retries: int = 4,
        retry_pause: float = 0.5,
        progress: bool | None = None,
    ) -> None:
        credentials = find_credentials(base_url, api_key)
        super().__init__(Transport(credentials, max_retries=max_retries, retry_pause=retry_pause), Bars(progress))
        self._http = httpx.Client(**_options(credentials, timeout))
        self._driver = SyncDriver(self._http)

    def close(self) -> None:
        """Close its connections; the client can't be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Resources[Async]):
    """`Client` for an event loop: the same resources, their methods awaited, their iterations asynchronous."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        max_retries: int = 4,
        retry_pause: float = 0.5,
        progress: bool | None = None,
    ) -> None:
        credentials = find_credentials(base_url, api_key)
        super().__init__(Transport(credentials, max_retries=max_retries, retry_pause=retry_pause), Bars(progress))
        self._http = httpx.AsyncClient(**_options(credentials, timeout))
        self._driver = AsyncDriver(self._http)

    async def aclose(self) -> None:
        """Close its connections; the client can't be used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _options(credentials: Credentials, timeout: float) -> dict:
    """Redirects lead to an object store, where httpx sends no key. A proxy is of no use on this machine itself."""
    return {
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
        "follow_redirects": True,
        "trust_env": not credentials.is_loopback,
        "headers": {"User-Agent": "modelpress-python", "Accept": "application/json"},
    }
