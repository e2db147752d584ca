"""Bringing a database to the tables of this code, under a lock, so that any number of processes may try at once."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.orm import Session

from modelpress.problem import Unavailable
from store.database import file_lock, lock_number, make_engine
from store.tables import SchemaVersion

SCHEMA = 1
"""The version of the tables that this code was written for."""


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database at `url`, as the role that owns its tables."""
    engine = make_engine(url, pool_size=2)
    try:
        with _locked(engine), engine.connect() as connection:
            command.upgrade(configuration(connection), revision)
    finally:
        engine.dispose()


def downgrade(url: str, revision: str) -> None:
    engine = make_engine(url, pool_size=2)
    try:
        with _locked(engine), engine.connect() as connection:
            command.downgrade(configuration(connection), revision)
    finally:
        engine.dispose()


def configuration(connection: Connection) -> Config:
    spec = importlib.util.find_spec("migrations")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    config = Config()
    config.set_main_option("script_location", spec.submodule_search_locations[0])
    config.attributes["connection"] = connection
    return config


def check(session: Session) -> None:
    """Raise Unavailable where this code may not serve these tables."""
    if not inspect(session.connection()).has_table(SchemaVersion.__tablename__):
        raise Unavailable("the database has no tables yet", hint="Run `modelpress-server migrate`.")
    found = session.scalars(select(SchemaVersion)).one()
    if found.version < SCHEMA:
        raise Unavailable(
            f"the database is at version {found.version} and this code needs {SCHEMA}", hint="Migrate it."
        )
    if found.compatible_from > SCHEMA:
        raise Unavailable(
            f"the database serves code from version {found.compatible_from} on; this is {SCHEMA}",
            hint="Upgrade the service.",
        )


@contextmanager
def _locked(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        database = engine.url.database or ""
        with file_lock(Path(database).with_suffix(".migrate.lock"), wait=True):
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": lock_number("migrate")})
        connection.commit()  # the lock is the session's, not the transaction's
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": lock_number("migrate")})
            connection.commit()
