"""The API served over loopback, on either database."""

import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from tests.workplace import Service, make_settings, running


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    """Unconfigured, structlog prints every trace with all local variables, which takes seconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """On SQLite and on Postgres."""
    with running(tmp_path, make_settings(tmp_path, database_url)) as started:
        yield started


@pytest.fixture
def sqlite_service(tmp_path: Path, sqlite_url: str) -> Iterator[Service]:
    """Where the database makes no difference."""
    with running(tmp_path, make_settings(tmp_path, sqlite_url)) as started:
        yield started


@pytest.fixture
def client(service: Service) -> httpx.Client:
    return service.client()
