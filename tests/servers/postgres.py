"""PostgreSQL for the tests."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from tests.servers.private import accessible, run_as, serving
from tests.servers.ways import MACOS_PREFIXES, Unavailable, first_line, first_that_works, packaged, wheel_folder

STANDARD = "postgresql://postgres@127.0.0.1:5432/postgres"


def postgres_server() -> AbstractContextManager[str]:
    """An administrator's URL of a PostgreSQL server: it may create databases and roles."""
    return first_that_works(
        "PostgreSQL",
        "postgresql (apt) or postgresql@17 (brew)",
        lambda: answering_postgres(os.environ.get("MODELPRESS_TEST_POSTGRES_URL")),
        lambda: answering_postgres(STANDARD),
        lambda: private_postgres(installed_postgres()),
        lambda: private_postgres(wheel_postgres()),
        lambda: private_postgres(packaged("postgresql", "postgresql@17", installed_postgres)),
    )


def own_postgres() -> AbstractContextManager[str]:
    """A server that nobody else uses: for tests of what is set up once a server, such as its roles."""
    return first_that_works(
        "PostgreSQL's binaries",
        "postgresql (apt) or postgresql@17 (brew)",
        lambda: private_postgres(installed_postgres()),
        lambda: private_postgres(wheel_postgres()),
        lambda: private_postgres(packaged("postgresql", "postgresql@17", installed_postgres)),
    )


@contextmanager
def answering_postgres(url: str | None) -> Iterator[str]:
    if url is None:
        raise Unavailable("MODELPRESS_TEST_POSTGRES_URL is not set")
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    except psycopg.Error as error:
        raise Unavailable(f"{url} does not answer ({first_line(error)})") from error
    if row != (True,):
        raise Unavailable(f"{url} answers, but its user is not a superuser")
    yield url


def installed_postgres() -> Path:
    """The folder that holds initdb and postgres."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=version_key)
    brewed = [path for prefix in MACOS_PREFIXES for path in Path(prefix).glob("opt/postgresql*/bin/initdb")]
    on_path = shutil.which("initdb")
    found = [*sorted(brewed, key=version_key), *debian, *([Path(on_path)] if on_path else [])]
    for initdb in reversed(found):
        folder = initdb.resolve().parent
        if (folder / "postgres").exists():
            return folder
    raise Unavailable("no installed PostgreSQL binary")


def wheel_postgres() -> Path:
    return wheel_folder("pgserver") / "pginstall" / "bin"


@contextmanager
def private_postgres(binaries: Path) -> Iterator[str]:
    def prepare(folder: Path, port: int, user: int | None) -> list[str]:
        own = accessible(binaries / "initdb", folder, user).parent
        data = folder / "data"
        initdb = [own / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        run_as(user, [str(part) for part in initdb], folder)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            # A test database is thrown away: durability would only cost time.
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        return [str(own / "postgres"), "-D", str(data), *(f"--{key}={value}" for key, value in settings.items())]

    def url(port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def answers(port: int) -> bool:
        try:
            psycopg.connect(url(port), connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    with serving(prepare, answers) as port:
        yield url(port)


def version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]
