"""Databases on one PostgreSQL server: a migrated template, cloned for each test that writes.

Two roles as in production: an owner, who migrates, and an app role that owns nothing and is no superuser. Each
run takes names of its own and holds an advisory lock on them, so that runs share a server, and what a killed run
left behind is known by its free lock and dropped by the next.
"""

import re
import secrets
from types import TracebackType

import psycopg
from psycopg import sql

NAME = re.compile(r"mptest_(\d+)_")
# The first of an advisory lock's two numbers: "mptest".
LOCK_SPACE = 0x6D70_7465


class Databases:
    """The databases and roles of one test run; used as a context manager."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._run = secrets.randbelow(2**31)
        self._made = 0
        self.owner = f"mptest_{self._run}_owner"
        self.app = f"mptest_{self._run}_app"
        self._password = secrets.token_hex(16)

    def __enter__(self) -> "Databases":
        self._connection = psycopg.connect(self.admin_url, autocommit=True)
        self._sweep()
        self._connection.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_SPACE, self._run])
        for role in (self.owner, self.app):
            statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}")
            self._connection.execute(statement.format(sql.Identifier(role), sql.Literal(self._password)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop_run(self._run)
        self._connection.close()

    def create(self, template: str = "template1") -> str:
        """The name of a new database, owned by the owner role; the app role may use what the owner makes in it."""
        self._made += 1
        name = f"mptest_{self._run}_{self._made}"
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        names = [sql.Identifier(part) for part in (name, self.owner, template)]
        self._connection.execute(statement.format(*names))
        if template == "template1":
            self._grant(name)
        return name

    def drop(self, name: str) -> None:
        self._connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url(self, name: str, role: str) -> str:
        """A SQLAlchemy URL of database `name` for `role` (`.owner` or `.app`)."""
        info = self._connection.info
        return f"postgresql+psycopg://{role}:{self._password}@{info.host}:{info.port}/{name}"

    def _grant(self, name: str) -> None:
        owner, app = sql.Identifier(self.owner), sql.Identifier(self.app)
        with psycopg.connect(self.admin_url, dbname=name, autocommit=True) as connection:
            for grant in (
                sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}"),
                sql.SQL("GRANT USAGE, SELECT ON SEQUENCES TO {}"),
            ):
                statement = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} ").format(owner) + grant.format(app)
                connection.execute(statement)

    def _sweep(self) -> None:
        """Drop what runs left that ended without a chance to: nobody holds their lock."""
        query = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles"
        found = {match[1] for (name,) in self._connection.execute(query) if (match := NAME.match(name))}
        for run in map(int, found):
            lock = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_SPACE, run]).fetchone()
            if lock == (True,):
                self._drop_run(run)
                self._connection.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_SPACE, run])

    def _drop_run(self, run: int) -> None:
        prefix = f"mptest\\_{run}\\_%"
        for (name,) in self._connection.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [prefix]):
            self.drop(name)
        for (name,) in self._connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [prefix]):
            self._connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
