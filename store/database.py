"""The door to Postgres or SQLite: sessions that read, sessions that write, and the database's clock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from sqlalchemy import Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker

from store.rings import NoRings, Rings

POOL = 50
"""At least FastAPI's 40 threads, so that no request waits for a connection while another waits for a thread."""

_WANTED = "rings"


class Database:
    """Sessions on one engine. `write()` commits at its end and then rings the queues that were asked for."""

    def __init__(self, url: str, rings: Rings | None = None, *, pool_size: int = POOL) -> None:
        self.engine = make_engine(url, pool_size)
        self.rings: Rings = rings or NoRings()
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(immediate=True), expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._readers() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction. On SQLite it is the only writer from its start, so that it never fails half-way."""
        with self._writers() as session:
            with session.begin():
                yield session
            for queue in session.info.pop(_WANTED, ()):
                self.rings.ring(queue)

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether we are the only one, in any process, inside `alone(name)`; held until the block ends."""
        if self.is_sqlite:
            with file_lock(Path(self.engine.url.database or "").with_suffix(f".{name}.lock"), wait=False) as held:
                yield held
            return
        with self.engine.connect() as connection:
            key = {"key": lock_number(name)}
            held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key))
            connection.commit()
            try:
                yield held
            finally:
                if held and not connection.invalidated:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
                    connection.commit()

    def close(self) -> None:
        self.engine.dispose()
        self.rings.close()


def ring_after_commit(session: Session, queue: str) -> None:
    session.info.setdefault(_WANTED, {})[queue] = None


def now(session: Session) -> datetime:
    """The database's clock: the only one that leases and time-outs are judged by."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)  # same machine, same clock
    return session.scalars(select(func.now())).one().astimezone(UTC)


def make_engine(url: str, pool_size: int = POOL) -> Engine:
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        engine = create_engine(address, pool_size=pool_size, max_overflow=pool_size, connect_args={"timeout": 30})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    limits = {"options": "-c lock_timeout=15s -c idle_in_transaction_session_timeout=300s", "connect_timeout": 10}
    return create_engine(address, pool_size=pool_size, pool_pre_ping=True, connect_args=limits)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's own is late and deferred
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def lock_number(name: str) -> int:
    return crc32(f"modelpress:{name}".encode())
