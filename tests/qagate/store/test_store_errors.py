"""A database that refuses: the message names it and the mend."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from qagate.series import Received
from qagate.store.engine import open_store, parse_url
from qagate.store.errors import StoreError, StoreUnavailable
from qagate.store.queue import Queue

Arrive = Callable[..., Received]


def test_locked(url: str, arrive: Arrive) -> None:
    with open_store(url) as store:
        Queue(store).record([arrive()])
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            release.wait(30)
            connection.close()
        else:
            with psycopg.connect(url) as postgres:
                postgres.execute("SELECT 1 FROM series FOR UPDATE")
                held.set()
                release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        with open_store(url, lock_timeout_s=0.2) as store:
            with pytest.raises(StoreUnavailable, match=r"locked by another program.*then retry"):
                Queue(store).record([arrive(number=2)])
            assert len(Queue(store).receiving()) == 1, "reading goes on"
    finally:
        release.set()
        thread.join()
    with open_store(url) as store:
        Queue(store).record([arrive(number=2)])


def test_read_only(url: str, arrive: Arrive) -> None:
    mark = "&" if "?" in url else "?"
    option = f"{mark}options=-c%20default_transaction_read_only%3Don" if "postgres" in url else ""
    with open_store(url + option) as store:
        if not option:
            sa.event.listen(store._engine, "connect", lambda at, _: at.execute("PRAGMA query_only = ON"))
        with pytest.raises(StoreError, match=r"read-only: give the gate's user write access"):
            Queue(store).record([arrive()])
        assert Queue(store).receiving() == []


def test_a_time_without_zone_is_refused(url: str, arrive: Arrive) -> None:
    with open_store(url, clock=lambda: datetime(2026, 1, 1)) as store:
        with pytest.raises(StoreError, match="no time zone"):
            Queue(store).record([arrive()])
        assert Queue(store).receiving() == [], "nothing of it was written"


def test_no_folder_and_no_database(tmp_path: Path) -> None:
    with (
        open_store(f"sqlite:///{tmp_path / 'absent' / 'qagate.db'}") as store,
        pytest.raises(StoreError, match="the file must be there"),
    ):
        Queue(store).receiving()
    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all" * 100)
    with open_store(f"sqlite:///{other}") as store, pytest.raises(StoreError, match="is damaged"):
        Queue(store).receiving()


def test_no_server_and_no_password_in_the_message() -> None:
    url = "postgresql://qagate:secret-word@127.0.0.1:1/qagate"
    with open_store(url) as store, pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        Queue(store).receiving()
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(StoreError, match="database_url"):
        open_store(url)


@pytest.mark.parametrize("url", ["postgres://h/n", "postgresql://h/n", "postgresql+psycopg://h/n"])
def test_postgres_urls_get_their_driver(url: str) -> None:
    assert parse_url(url).drivername == "postgresql+psycopg"


def test_sqlite_is_durable(sqlite_template: Path) -> None:
    with open_store(f"sqlite:///{sqlite_template}") as store, store.read() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert values == ["wal", 2, 1]
