"""The database is locked, gone, read-only, stopped, halted and restarted, while a scanner goes on sending."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_archives import Archive
from fault_gate import EVERYTHING, LIMIT_S, Books, needs
from fault_postgres import Postgres
from neighbours import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]
MEANWHILE = "images are accepted into the spool all the time; "
LOGGED = "the log names the mend; everything is decided and sent when it is over"
HOLD = (
    "import sqlite3, sys; held = sqlite3.connect(sys.argv[1], isolation_level=None);"
    "held.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
)
LOCKED_S = 12.0  #: longer than a write waits


@pytest.fixture(scope="module")
def make_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Archive]]:
    there: list[Archive] = []

    def make() -> Archive:
        there.append(Archive("pacs", tmp_path_factory.mktemp("pacs")))
        return there[-1].start()

    yield make
    for archive in there:
        archive.close()


@pytest.fixture(scope="module")
def on_sqlite(make_gate: Callable[..., Any], make_archive: Callable[[], Archive]) -> Books:
    archive = make_archive()
    gate = make_gate(**EVERYTHING, archive=[archive.settings(timeout_s=10.0)])
    return Books(gate, gate.store_url, [archive])


@contextmanager
def locked(database: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield
        holder.kill()


def complaint(books: Books, words: str) -> bool:
    return bool(until(lambda: words in books.gate.log.read_text(), LIMIT_S))


def test_a_locked_database(on_sqlite: Books, made: Any) -> None:
    books = on_sqlite
    first, second = made.series(3), made.series(3)
    books.send(first[1])
    with locked(books.gate.data / "qagate.db"):
        assert books.send(second[1]) == 3
        time.sleep(LOCKED_S)
    assert "is locked by another program" in books.gate.log.read_text()
    outcome = MEANWHILE + "the log says who to look for (`a copy, a backup, an open SQL shell`); " + LOGGED
    books.close("database locked for longer than a write waits", "receiver, worker, services", outcome)


def test_a_database_that_is_moved_away(on_sqlite: Books, made: Any) -> None:
    books, kept = on_sqlite, on_sqlite.gate.data / "kept"
    kept.mkdir()
    books.send(made.series(3)[1])
    for name in ("qagate.db", "qagate.db-wal", "qagate.db-shm"):
        if (books.gate.data / name).exists():
            (books.gate.data / name).rename(kept / name)
    assert books.send(made.series(3)[1]) == 3
    assert complaint(books, "cannot be opened: the file must be there")
    assert not (books.gate.data / "qagate.db").exists(), "no empty database takes its place"
    for path in kept.iterdir():
        path.rename(books.gate.data / path.name)
    outcome = MEANWHILE + "no empty database is made in its place; " + LOGGED
    books.close("database gone: its file is moved away, then back", "receiver, worker, services", outcome)


def test_a_start_without_the_database_makes_no_new_one(on_sqlite: Books, made: Any) -> None:
    books, away = on_sqlite, on_sqlite.gate.data / "away.db"
    books.send(made.series(3)[1])
    books.settle()
    assert books.gate.stop() == 0
    (books.gate.data / "qagate.db").rename(away)
    said = books.gate.run("receiver")
    assert said.returncode == 1 and "the database is gone or empty, and the spool holds images" in said.stderr
    assert not (books.gate.data / "qagate.db").exists()
    away.rename(books.gate.data / "qagate.db")
    books.gate.start()
    outcome = (
        "does not start, and names the mend (`qagate restore`, or `qagate migrate` for a new one): with an "
        "empty database everything would be decided and sent again"
    )
    books.close("database gone at a start", "every role", outcome)


def test_a_read_only_database(on_sqlite: Books, made: Any) -> None:
    needs("chattr")
    books = on_sqlite
    books.send(made.series(3)[1])
    books.settle()
    database = books.gate.data / "qagate.db"
    files = [str(path) for path in database.parent.glob("qagate.db*")]
    if subprocess.run(["chattr", "+i", *files], capture_output=True, check=False).returncode:
        pytest.skip("files cannot be made immutable here: chattr needs root and ext4, xfs or btrfs")
    try:
        assert books.send(made.series(3)[1]) == 3
        assert complaint(books, "record_failed")
        time.sleep(2)
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)
    books.close("database read-only (chattr +i)", "receiver, worker, services", MEANWHILE + LOGGED)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres().start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def on_postgres(
    make_gate: Callable[..., Any], make_archive: Callable[[], Archive], postgres: Postgres
) -> Books:
    archive = make_archive()
    gate = make_gate(**EVERYTHING, archive=[archive.settings(timeout_s=10.0)], database_url=postgres.url)
    return Books(gate, postgres.url, [archive], "postgres")


def test_postgres_is_stopped_and_goes_on(on_postgres: Books, postgres: Postgres, made: Any) -> None:
    books = on_postgres
    books.send(made.series(3)[1])
    postgres.signal(signal.SIGSTOP)
    try:
        assert books.send(made.series(3)[1]) == 3
        time.sleep(6)  # longer than the lease
    finally:
        postgres.signal(signal.SIGCONT)
    books.close(
        "Postgres hangs (SIGSTOP) for longer than a lease", "receiver, worker, services", MEANWHILE + LOGGED
    )


def test_postgres_is_halted_and_started(on_postgres: Books, postgres: Postgres, made: Any) -> None:
    books = on_postgres
    books.send(made.series(3)[1])
    postgres.stop("immediate")
    assert books.send(made.series(3)[1]) == 3
    assert complaint(books, "cannot be reached: start it")
    time.sleep(5)  # longer than the lease
    postgres.start()
    books.close("Postgres halted at once, then started", "receiver, worker, services", MEANWHILE + LOGGED)


def test_postgres_is_restarted(on_postgres: Books, postgres: Postgres, made: Any) -> None:
    books = on_postgres
    for _ in range(2):
        books.send(made.series(3)[1])
        postgres.stop("fast")
        postgres.start()
    books.close("Postgres restarted twice", "receiver, worker, services", MEANWHILE + LOGGED)


def test_postgres_is_read_only(on_postgres: Books, postgres: Postgres, made: Any) -> None:
    books = on_postgres
    postgres.ask("ALTER SYSTEM SET default_transaction_read_only = on")
    postgres.ask("SELECT pg_reload_conf()")
    try:
        assert books.send(made.series(3)[1]) == 3
        assert complaint(books, "is read-only: give the gate's user write access")
        time.sleep(2)
    finally:
        postgres.ask("ALTER SYSTEM RESET default_transaction_read_only")
        postgres.ask("SELECT pg_reload_conf()")
    books.close("Postgres read-only", "receiver, worker, services", MEANWHILE + LOGGED)
