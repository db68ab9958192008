"""Brings a database to the schema of this qagate, and tells which schema it has."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from qagate.store.engine import Store, make_engine, parse_url, utc_now
from qagate.store.errors import StoreError

_LOCK = 0x71_61_67_61_74_65  # "qagate": the advisory lock of everyone who migrates one Postgres


def migrate(url: str) -> str:
    """Create or upgrade the schema and return its revision; does nothing when it is current.

    Several processes may call it at once: one migrates, the others wait. Raises StoreError.
    """
    with _open(url) as store, store.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        present = MigrationContext.configure(connection).get_current_revision()
        _must_be_known(present)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return head_revision()


def current_revision(url: str) -> str | None:
    """Return the schema revision of the database, None when it has none. Raises StoreError."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return None
    with _open(url) as store, store.read() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    return revision


def head_revision() -> str:
    """Return the schema revision that this qagate needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise StoreError("the installed qagate lacks its migrations: install it again")
    return head


def known_revision(revision: str) -> bool:
    """Tell whether this qagate knows a schema revision, and can upgrade it."""
    return revision in _revisions()


def check_revision(url: str) -> None:
    """Raise StoreError with the mend unless the database has the schema this qagate needs."""
    present, head = current_revision(url), head_revision()
    _must_be_known(present)
    if present != head:
        raise StoreError(
            f"the database has schema {present or '(none)'}, this qagate needs {head}: run `qagate migrate`"
        )


def _must_be_known(revision: str | None) -> None:
    if revision is not None and revision not in _revisions():
        raise StoreError(
            f"the database has schema {revision}, which this qagate does not know: a newer qagate made it; "
            "install that one, or restore the backup taken before its upgrade"
        )


def _revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _open(url: str) -> Store:
    return Store(make_engine(parse_url(url), lock_timeout_s=60.0, create=True), utc_now)
