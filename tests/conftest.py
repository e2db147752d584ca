"""Servers, databases and settings that any test may ask for."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from tests import servers
from tests.databases import Databases
from tests.servers import S3Server

# Two cores and neighbours: how long an example took says nothing.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def migrate(url: str) -> None:
    # Only tests that use a database pay for loading the store.
    from store.migrate import migrate

    migrate(url)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server on which databases can be made."""
    with servers.postgres_server() as admin_url, Databases(admin_url) as made:
        yield made


@pytest.fixture(scope="session")
def migrated_template(databases: Databases) -> str:
    name = databases.create()
    migrate(databases.url(name, databases.owner))
    return name


@pytest.fixture
def postgres_name(databases: Databases, migrated_template: str) -> Iterator[str]:
    name = databases.create(template=migrated_template)
    yield name
    databases.drop(name)


@pytest.fixture
def postgres_url(databases: Databases, postgres_name: str) -> str:
    """A migrated PostgreSQL database of the test's own, as the app role: neither owner nor superuser."""
    return databases.url(postgres_name, databases.app)


@pytest.fixture
def postgres_owner_url(databases: Databases, postgres_name: str) -> str:
    """The database of `postgres_url`, as its owner."""
    return databases.url(postgres_name, databases.owner)


@pytest.fixture
def empty_postgres_url(databases: Databases) -> Iterator[str]:
    """An empty PostgreSQL database, as its owner: for the migrations."""
    name = databases.create()
    yield databases.url(name, databases.owner)
    databases.drop(name)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of the test's own."""
    path = tmp_path / "modelpress.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, once on each engine."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    with servers.redis_server() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """An empty Redis database that the test may flush."""
    yield redis_server
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server with one bucket, shared by the session: tests use keys of their own."""
    with servers.s3_server() as server:
        yield server
