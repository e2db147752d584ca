"""Migrations: up and down on both databases, with a row in every table, and no difference to the tables in code."""

from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, Float, LargeBinary, Table, inspect, select
from sqlalchemy.orm import Session

from modelpress.problem import Unavailable
from store import migrate, types
from store.database import make_engine
from store.migrate import SCHEMA, configuration
from store.tables import Base, SchemaVersion

_OPEN = {"state": {"uploads": "pending", "models": "ready", "datasets": "ready", "jobs": "queued"}}


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """An empty database, as the role that owns its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    return request.getfixturevalue("empty_postgres_url")


def example(table: Table, column: Any) -> Any:
    """A value that fits: references point at the one row of the other table."""
    if column.name in _OPEN:
        return _OPEN[column.name][table.name]
    if column.nullable:
        return None
    if column.name == "project_id":
        return "projects-1"  # part of a reference to blobs, too
    if column.foreign_keys:
        return f"{next(iter(column.foreign_keys)).column.table.name}-1"
    values = {
        types.UtcTime: datetime(2026, 1, 2, tzinfo=UTC),
        types.Json: {},
        LargeBinary: b"x",
        BigInteger: 1,
        Float: 1.0,
    }
    return next((value for kind, value in values.items() if isinstance(column.type, kind)), f"{table.name}-1")


def fill(connection: Connection) -> None:
    """One row in every table."""
    for table in Base.metadata.sorted_tables:
        if table.name == "schema_version":
            continue
        row = {column.name: example(table, column) for column in table.columns}
        if "sha256" in row:
            row["sha256"] = "blobs-1"
        connection.execute(table.insert().values(row))
    connection.commit()


def counts(connection: Connection) -> dict[str, int]:
    return {table.name: len(connection.execute(select(table)).all()) for table in Base.metadata.sorted_tables}


def test_the_migrations_make_the_tables_of_the_code(empty_url: str):
    migrate.migrate(empty_url)
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        checks = {
            each["name"] for name in Base.metadata.tables for each in inspect(connection).get_check_constraints(name)
        }
    engine.dispose()
    assert {"ck_jobs_state", "ck_jobs_lease", "ck_jobs_finished", "ck_uploads_state"} <= checks


def test_each_migration_goes_up_and_down_and_up_again_with_a_row_in_every_table(empty_url: str):
    engine = make_engine(empty_url)
    with engine.connect() as connection:
        revisions = [each.revision for each in ScriptDirectory.from_config(configuration(connection)).walk_revisions()]
    migrate.migrate(empty_url)
    with engine.connect() as connection:
        fill(connection)
        assert set(counts(connection).values()) == {1}
    for _ in revisions[:-1]:
        migrate.downgrade(empty_url, "-1")
        migrate.migrate(empty_url)
        with engine.connect() as connection:
            assert set(counts(connection).values()) == {1}
    migrate.downgrade(empty_url, "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    migrate.migrate(empty_url)
    engine.dispose()


def test_rebuilding_a_table_on_sqlite_keeps_what_refers_to_it(tmp_path: Any):
    """What a batch alteration does to a table with cascading children, were foreign keys on."""
    url = f"sqlite:///{tmp_path}/a.db"
    migrate.migrate(url)
    engine = make_engine(url)
    with engine.connect() as connection:
        fill(connection)
    scripts = tmp_path / "versions"
    scripts.mkdir()
    (scripts / "0002_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision, down_revision = '0002', '0001'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('jobs', recreate='always') as jobs:\n"
        "        jobs.add_column(sa.Column('extra', sa.String()))\n"
        "def downgrade():\n    pass\n"
    )
    with engine.connect() as connection:
        config = configuration(connection)
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{config.get_main_option('script_location')}/versions\n{scripts}")
        command.upgrade(config, "head")
        assert counts(connection)["job_events"] == 1
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert "extra" in {column["name"] for column in inspect(connection).get_columns("jobs")}
    engine.dispose()


def test_migrating_twice_is_harmless(empty_url: str):
    migrate.migrate(empty_url)
    migrate.migrate(empty_url)


@pytest.mark.parametrize(
    ("version", "compatible_from", "said"),
    [(SCHEMA - 1, 0, "this code needs"), (SCHEMA + 5, SCHEMA + 1, "serves code from version")],
)
def test_code_and_tables_that_do_not_fit_are_told_apart(sqlite_url: str, version: int, compatible_from: int, said: str):
    engine = make_engine(sqlite_url)
    with Session(engine) as session:
        migrate.check(session)
        row = session.scalars(select(SchemaVersion)).one()
        session.delete(row)
        session.add(SchemaVersion(version=version, compatible_from=compatible_from))
        session.flush()
        with pytest.raises(Unavailable, match=said):
            migrate.check(session)
    engine.dispose()


def test_a_newer_schema_that_still_serves_this_code_is_fine(sqlite_url: str):
    engine = make_engine(sqlite_url)
    with Session(engine) as session:
        session.scalars(select(SchemaVersion)).one().version = SCHEMA + 1
        session.flush()
        migrate.check(session)
    engine.dispose()


def test_a_database_without_tables_says_what_to_do(tmp_path: Any):
    engine = make_engine(f"sqlite:///{tmp_path}/none.db")
    with Session(engine) as session, pytest.raises(Unavailable) as caught:
        migrate.check(session)
    assert "migrate" in caught.value.hint
    engine.dispose()


def test_the_app_role_can_use_the_tables_and_not_change_them(postgres_url: str):
    engine = make_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 0
        with pytest.raises(Exception, match="must be owner"):
            connection.exec_driver_sql("ALTER TABLE jobs DROP COLUMN state")
    engine.dispose()
