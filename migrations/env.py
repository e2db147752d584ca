"""Run by Alembic: migrations on the connection that `store.migrate` hands over."""

from alembic import context
from sqlalchemy import Connection

from store.tables import Base


def run(connection: Connection) -> None:
    """One transaction for everything. SQLite rebuilds tables to alter them, and would empty what refers to them."""
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        _foreign_keys(connection, "OFF")
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=is_sqlite, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()
        if is_sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
            raise RuntimeError(f"the migration left rows that refer to nothing: {broken[:5]}")
    if connection.in_transaction():
        connection.commit()
    if is_sqlite:
        _foreign_keys(connection, "ON")


def _foreign_keys(connection: Connection, state: str) -> None:
    """The pragma does nothing inside a transaction, so it goes to the driver directly."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA foreign_keys={state}")


run(context.config.attributes["connection"])
