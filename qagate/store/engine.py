"""Opens the database. Other modules of the store get transactions from here; nobody else does."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from qagate.store.errors import DATABASE_ERRORS, StoreError, explain

Clock = Callable[[], datetime]
_READS = "qagate_reads"
#: A cut network is noticed within half a minute, by both ends: else ours would wait for ever, and the
#: server's would hold the locks of a transaction that nobody ends.
_POSTGRES_KEEPALIVES = {
    "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}  # fmt: skip
_POSTGRES_SESSION = {
    "tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3,
    "tcp_user_timeout": 25_000, "idle_in_transaction_session_timeout": 60_000,
}  # fmt: skip


def utc_now() -> datetime:
    """Return the time, with zone."""
    return datetime.now(UTC)


class Store:
    """One open database. Threads may share it; every process opens its own.

    `clock` gives the time of leases, pauses and decisions (UTC). Machines that share a Postgres need
    clocks that agree to within a fraction of the lease.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._joined: ContextVar[Connection | None] = ContextVar("joined", default=None)

    def now(self) -> datetime:
        """Return the store's time, UTC."""
        return self._clock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes; SQLite's write lock is taken at once. Raises StoreError."""
        if (joined := self._joined.get()) is not None:
            yield joined
            return
        try:
            with self._engine.begin() as connection:
                yield connection
        except DATABASE_ERRORS as error:
            raise explain(error, self._engine.url) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of all that this thread writes and reads inside: an act and its audit line."""
        with self.write() as connection:
            token = self._joined.set(connection)
            try:
                yield
            finally:
                self._joined.reset(token)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads; it never waits for a writer. Raises StoreError."""
        if (joined := self._joined.get()) is not None:
            yield joined
            return
        try:
            with self._engine.connect().execution_options(**{_READS: True}) as connection:
                yield connection
        except DATABASE_ERRORS as error:
            raise explain(error, self._engine.url) from error

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(url: str, *, clock: Clock = utc_now, lock_timeout_s: float = 10.0) -> Store:
    """Open `sqlite:///FILE` or `postgresql+psycopg://…`; connects at first use.

    A write waits `lock_timeout_s` for locks of others. Raises StoreError for a URL that cannot be used.
    """
    return Store(make_engine(parse_url(url), lock_timeout_s), clock)


def parse_url(url: str) -> URL:
    """Return the URL with its driver; StoreError names what is wrong, never the password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError("database_url is no URL such as postgresql+psycopg://user@host/name") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(
            f"database_url names {parsed.drivername}: only sqlite:///FILE and postgresql+psycopg:// work"
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("database_url names no file: sqlite:///FILE, because several processes share it")
    return parsed


def make_engine(url: URL, lock_timeout_s: float, *, create: bool = False) -> Engine:
    """Return an engine whose transactions begin as each database needs it.

    create: make a SQLite file that is not there; else a lost one would silently be replaced by an empty one.
    """
    connect_args: dict[str, Any] = {"timeout": lock_timeout_s}
    if url.get_backend_name() != "sqlite":
        connect_args = {"connect_timeout": 10, "application_name": "qagate"} | _POSTGRES_KEEPALIVES
    # Parameters stay out of error texts, which reach logs.
    engine = create_engine(url, connect_args=connect_args, pool_pre_ping=True, hide_parameters=True)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        event.listen(engine, "do_connect", partial(_open_sqlite, "rwc" if create else "rw"))
        event.listen(engine, "connect", partial(_set_up_sqlite, lock_timeout_s))
        event.listen(engine, "connect", partial(_note_file, path))
        event.listen(engine, "checkout", partial(_same_file, path))
        event.listen(engine, "begin", _begin_sqlite)
    else:

        @event.listens_for(engine, "connect")
        def _set_up_postgres(connection: psycopg.Connection[Any], _: object) -> None:
            wanted = _POSTGRES_SESSION | {"lock_timeout": int(lock_timeout_s * 1000)}
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in wanted.items()).encode())
            connection.commit()

    return engine


def _open_sqlite(mode: str, _: object, __: object, arguments: list[Any], options: dict[str, Any]) -> None:
    arguments[0] = f"file:{quote(str(arguments[0]))}?mode={mode}"
    options["uri"] = True


def _note_file(path: Path, _: object, record: ConnectionPoolEntry) -> None:
    status = path.stat()
    record.info["file"] = (status.st_dev, status.st_ino)


def _same_file(path: Path, _: object, record: ConnectionPoolEntry, __: object) -> None:
    """A file that was moved away or replaced: what is written to the former one would be lost."""
    try:
        status = path.stat()
    except OSError as error:
        raise DisconnectionError(f"{path} is gone") from error
    if record.info["file"] != (status.st_dev, status.st_ino):
        raise DisconnectionError(f"{path} was replaced")


def _set_up_sqlite(lock_timeout_s: float, connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, see below
    _switch_to_wal(connection, time.monotonic() + lock_timeout_s)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Several processes may open a new file at once, and SQLite does not wait when two of them switch."""
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later can be refused at the write, whatever the timeout.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
