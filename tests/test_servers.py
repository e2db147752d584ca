"""The tests' own servers: each way of getting one works, and none outlives the run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import boto3
import psycopg
import pytest
import redis
from botocore.config import Config

from tests.databases import Databases
from tests.servers import S3Server
from tests.servers.postgres import answering_postgres, installed_postgres, private_postgres, wheel_postgres
from tests.servers.private import listening
from tests.servers.redis import installed_redis, private_redis, unused_database, wheel_redis
from tests.servers.ways import Unavailable, first_that_works, installed

ROOT = Path(__file__).parents[1]


@contextmanager
def works(name: str) -> Iterator[str]:
    yield name


def fails(reason: str) -> AbstractContextManager[str]:
    raise Unavailable(reason)


def test_ways_are_tried_in_order_until_one_works():
    with first_that_works("a server", "pkg", lambda: fails("no"), lambda: works("b"), lambda: works("c")) as server:
        assert server == "b"


def test_when_no_way_works_the_error_names_the_package_and_every_reason():
    ways = [lambda: fails("port closed"), lambda: fails("no binary")]
    with (
        pytest.raises(RuntimeError, match=r"install postgresql.*port closed; no binary"),
        first_that_works("PostgreSQL", "postgresql", *ways),
    ):
        pass


def test_a_failing_test_body_is_not_taken_for_a_failing_way():
    with (
        pytest.raises(Unavailable, match="raised by the body"),
        first_that_works("a server", "pkg", lambda: works("a"), lambda: works("b")),
    ):
        raise Unavailable("raised by the body")


def test_a_closed_port_is_no_postgres():
    with pytest.raises(Unavailable, match="does not answer"):
        answering_postgres("postgresql://postgres@127.0.0.1:1/postgres").__enter__()


def test_an_installed_binary_is_found_under_any_of_its_names_even_outside_the_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed("no-such-server", "env") == Path("/usr/bin/env")
    with pytest.raises(Unavailable, match="no installed no-such-server or nor-this"):
        installed("no-such-server", "nor-this")


def binaries_here(*finders: Callable[[], Path]) -> Iterator[Path]:
    for find in finders:
        try:
            yield find()
        except Unavailable:
            continue


def test_every_postgres_binary_here_starts_privately():
    for binaries in binaries_here(installed_postgres, wheel_postgres):
        with private_postgres(binaries) as url, psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_every_redis_binary_here_starts_privately():
    for binary in binaries_here(installed_redis, wheel_redis):
        with private_redis(binary) as url, redis.Redis.from_url(url) as client:
            assert client.dbsize() == 0


def test_two_runs_on_a_shared_redis_get_databases_of_their_own(redis_server: str):
    server = redis_server.removesuffix("/0")
    with unused_database(server) as first, unused_database(server) as second:
        assert first != second


def killed_run(program: str) -> str:
    """What a process printed that ran `program` and then killed itself beyond any clean-up."""
    killed = subprocess.run(
        [sys.executable, "-c", f"import os\n{program}\nos.kill(os.getpid(), {signal.SIGKILL.value})"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    return killed.stdout.strip()


def test_a_private_server_and_its_folder_go_when_the_run_is_killed():
    port, folder = killed_run(
        "import redis\n"
        "from tests.servers.redis import installed_redis, wheel_redis, private_redis\n"
        "from tests.test_servers import binaries_here\n"
        "server = private_redis(next(binaries_here(installed_redis, wheel_redis)))\n"
        "client = redis.Redis.from_url(server.__enter__(), decode_responses=True)\n"
        "print(client.config_get()['port'], client.config_get()['dir'], flush=True)"
    ).split()
    assert Path(folder).name.startswith("modelpress-test-")
    deadline = time.monotonic() + 30
    while (listening(int(port)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not listening(int(port))
    assert not Path(folder).exists()


def test_what_a_killed_run_left_in_a_shared_postgres_is_dropped_by_the_next(databases: Databases):
    killed_owner = killed_run(
        "from tests.databases import Databases\n"
        f"databases = Databases({databases.admin_url!r}).__enter__()\n"
        "databases.create()\n"
        "print(databases.owner, flush=True)"
    )
    with Databases(databases.admin_url), psycopg.connect(databases.admin_url) as connection:
        query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
        left = connection.execute(query, [[killed_owner, databases.owner]]).fetchall()
    assert left == [(databases.owner,)]


def test_the_app_role_uses_what_the_owner_makes_and_makes_nothing_itself(databases: Databases):
    name = databases.create()
    owner_url, app_url = (plain(databases.url(name, role)) for role in (databases.owner, databases.app))
    with psycopg.connect(owner_url) as owner:
        owner.execute("CREATE TABLE thing (id serial PRIMARY KEY)")
    with psycopg.connect(app_url, autocommit=True) as app:
        app.execute("INSERT INTO thing DEFAULT VALUES")
        for forbidden in ("CREATE TABLE other (id int)", "DROP TABLE thing", "TRUNCATE thing"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(forbidden)
    databases.drop(name)


def plain(sqlalchemy_url: str) -> str:
    return sqlalchemy_url.replace("+psycopg", "")


def test_the_s3_server_checks_signatures_and_keeps_what_was_put(s3_server: S3Server):
    content = b"a model" * 1000
    s3_client(s3_server, s3_server.secret_key).put_object(Bucket=s3_server.bucket, Key="a/b", Body=content)
    client = s3_client(s3_server, s3_server.secret_key)
    assert client.get_object(Bucket=s3_server.bucket, Key="a/b")["Body"].read() == content
    with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
        s3_client(s3_server, "not-the-secret-key").get_object(Bucket=s3_server.bucket, Key="a/b")


def s3_client(server: S3Server, secret_key: str):
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
