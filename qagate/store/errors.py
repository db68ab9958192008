"""What the store raises, and how a database's own error becomes a sentence with the mend."""

from __future__ import annotations

import sqlite3

import psycopg
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, psycopg.Error)


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the database and the mend."""


class StoreUnavailable(StoreError):
    """The database is locked, busy or away for the moment; the same call may succeed later."""


class StoreUnusable(StoreError):
    """The database takes nothing until it is mended: read-only, full, damaged, without rights or schema."""


class IllegalTransition(StoreError):
    """A state may not follow the present one; the message names both."""


#: SQLSTATE (Postgres) or a fragment of the message, in lower case -> transient?, the mend
_MENDS: tuple[tuple[tuple[str, ...], bool, str], ...] = (
    (
        ("database is locked", "database table is locked", "55p03", "57014"),
        True,
        "is locked by another program: end what holds it (a copy, a backup, an open SQL shell), then retry",
    ),
    (("40001", "40p01"), True, "gave up a transaction that collided with another: retry"),
    (
        ("readonly database", "25006"),
        False,
        "is read-only: give the gate's user write access (SQLite: to the file and its folder)",
    ),
    (
        ("unable to open database file",),
        False,
        "cannot be opened: the file must be there (a new gate: run `qagate migrate`), and its folder be "
        "writable for the gate's user",
    ),
    (
        ("no such table", "no such column", "42p01", "42703"),
        False,
        "has no or an old schema: run `qagate migrate`",
    ),
    (("disk is full", "53100"), False, "has no space left on its disk: free some"),
    (("not a database", "malformed", "xx001"), False, "is damaged: restore it from its backup"),
    (
        ("42501", "permission denied"),
        False,
        "refuses: grant the gate's database user the rights on its tables",
    ),
    (
        ("password authentication failed", "28p01", "28000", "does not exist", "3d000"),
        False,
        "refuses the connection: correct user, password and database name in database_url",
    ),
    (
        ("too many connections", "too many clients", "53300", "queuepool limit"),
        True,
        "has no free connection: raise max_connections or run fewer workers",
    ),
    (
        ("connection", "server closed", "57p01", "57p02", "57p03", "could not translate host"),
        True,
        "cannot be reached: start it, or correct database_url",
    ),
)


def explain(error: Exception, url: URL) -> StoreError:
    """Return the store's own error for a database's error; passwords are not shown."""
    name = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = (str(origin).strip().splitlines() or [type(origin).__name__])[0]
    state = str(getattr(origin, "sqlstate", None) or "").lower()
    text = f"{state} {origin}".lower()
    if state.startswith("22"):  # data exceptions quote the value
        said = f"{type(origin).__name__}, SQLSTATE {state}"
    for fragments, transient, mend in _MENDS:
        if any(fragment in text for fragment in fragments):
            return (StoreUnavailable if transient else StoreUnusable)(f"database {name} {mend} ({said})")
    return StoreError(f"database {name} failed: {said}")
