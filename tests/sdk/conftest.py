"""A scripted service, and clients of it."""

from collections.abc import Iterator

import pytest

from modelpress.client import Client
from tests.sdk.scripted import Scripted, serving


@pytest.fixture
def service() -> Iterator[Scripted]:
    with serving() as script:
        yield script


@pytest.fixture
def client(service: Scripted) -> Iterator[Client]:
    with Client(service.url, "mp_test_key", progress=False, retry_pause=0.001) as made:
        yield made
