"""Copies of a whole database: SQLite through its backup API, Postgres through pg_dump and pg_restore.

A copy is one consistent moment, taken while others write.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from qagate.store.engine import parse_url
from qagate.store.errors import StoreError
from qagate.store.migrate import current_revision

NAMES = {"sqlite": "qagate.db", "postgresql": "qagate.pgdump"}  #: of the copy, by kind of database
_PROGRAMS = Path("/usr/lib/postgresql")


def kind(url: str) -> str:
    """Return "sqlite" or "postgresql"."""
    return parse_url(url).get_backend_name()


def dump(url: str, target: Path) -> None:
    """Write a copy to a file that is not there yet, and check it. Raises StoreError."""
    of = parse_url(url)
    if of.get_backend_name() == "sqlite":
        _dump_sqlite(Path(of.database or ""), target)
    else:
        _run("pg_dump", of, ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"])
    check(url, target)


def check(url: str, copy: Path) -> None:
    """Raise StoreError unless a copy is whole and can be read back into the kind of database of the URL."""
    if kind(url) == "sqlite":
        _check_sqlite(copy)
    else:
        _run("pg_restore", None, ["--list", str(copy)])


def load(url: str, copy: Path, *, overwrite: bool) -> Path | None:
    """Fill the database from a copy; return where a SQLite file that was there is kept. Raises StoreError.

    Nothing else may use the database meanwhile. overwrite: it may hold something.
    """
    of = parse_url(url)
    if of.get_backend_name() == "sqlite":
        return _load_sqlite(Path(of.database or ""), copy, overwrite=overwrite)
    if current_revision(url) is not None and not overwrite:
        raise StoreError("the database of database_url is not empty: name an empty one, or give --force")
    clean = ["--clean", "--if-exists"] if overwrite else []
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", *clean]
    _run("pg_restore", of, [*options, str(copy)])
    return None


def _dump_sqlite(source: Path, target: Path) -> None:
    if not source.is_file():
        raise StoreError(f"there is no database {source}: nothing to back up")
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            # In one step: several would begin anew whenever another process writes.
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"database {source} cannot be copied to {target}: {error}") from error


def _check_sqlite(copy: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
            told = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{copy} is no whole database: {error}") from error
    if told != ["ok"] or orphans:
        raise StoreError(f"{copy} is damaged: {told[0] if told != ['ok'] else f'{len(orphans)} loose rows'}")


def _load_sqlite(target: Path, copy: Path, *, overwrite: bool) -> Path | None:
    former = None
    if target.exists():
        if not overwrite:
            raise StoreError(f"{target} is there already: --force puts it aside")
        former = _free_name(target)
        with closing(sqlite3.connect(target)) as old:
            old.execute("PRAGMA journal_mode = DELETE")  # what waits in its -wal file belongs to it
        target.rename(former)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".restored")
    shutil.copyfile(copy, new)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(target)
    return former


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.before-restore-{number}") for number in range(1, 10_000))
    return next(name for name in names if not name.exists())


def _run(name: str, of: URL | None, options: list[str]) -> None:
    """Run a program of Postgres; the password goes through the environment, which other users cannot see."""
    environment = dict(os.environ)
    command = [_program(name), *options]
    if of is not None:
        plain = URL.create(
            "postgresql",
            username=of.username,
            host=of.host,
            port=of.port,
            database=of.database,
            query=of.query,
        ).difference_update_query(["password"])
        password = of.password or of.query.get("password")
        if isinstance(password, str):
            environment["PGPASSWORD"] = password
        command.append(f"--dbname={plain.render_as_string(hide_password=False)}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise StoreError(f"{name} failed: {told}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        newest = sorted(_PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
        found = str(newest[-1]) if newest else None
    if found is None:
        raise StoreError(f"{name} is not installed: install the Postgres client of the server's version")
    return found
