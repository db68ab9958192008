"""Who did what, when. Rows are only ever added, and hold no patient data.

They are a chain: each holds the SHA-256 of its own content and of the one before. What was changed, removed
or put in between later no longer fits, which `verify` tells. Someone who may write to the database could make
the whole chain anew: that shows only against a head that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.rows import insert_new, text
from qagate.store.schema import audit, audit_export

FIRST = ""  #: what stands before the first row
_LOCK = 0x61_75_64_69_74  # "audit": the advisory lock of everyone who adds to one Postgres' trail
_PAGE = 1000
_CONTENT = ("before_sha256", "at", "actor", "act", "series_instance_uid", "details")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act."""

    entry_id: int
    at: datetime  #: UTC
    actor: str  #: a user name
    act: str  #: one word or two, such as "disagree"
    series_instance_uid: str | None
    details: Mapping[str, Any]
    sha256: str  #: of this row and all before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the trail; kept elsewhere, it proves later that nothing up to here was touched."""

    rows: int
    entry_id: int  #: 0: there is none
    sha256: str  #: "": there is none


class BrokenTrail(StoreError):
    """The trail was touched after it was written; the message names the first row that shows it."""


class Trail:
    """The audit trail of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self, *, actor: str, act: str, series_instance_uid: str | None = None, details: Mapping[str, Any] = {}
    ) -> None:
        """Record an act. Raises StoreError; who acts must not go on then."""
        with self._store.write() as connection:
            append(connection, self._store.now(), actor, act, series_instance_uid, details)

    def newest(
        self,
        *,
        actor: str | None = None,
        act: str | None = None,
        series_instance_uid: str | None = None,
        since: datetime | None = None,
        before_id: int | None = None,
        limit: int = 100,
    ) -> tuple[AuditEntry, ...]:
        """Acts, the newest first; `before_id` leads to the next page."""
        query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
        for column, value in (
            (audit.c.actor, actor), (audit.c.act, act), (audit.c.series_instance_uid, series_instance_uid),
        ):  # fmt: skip
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(audit.c.at >= since)
        if before_id is not None:
            query = query.where(audit.c.id < before_id)
        with self._store.read() as connection:
            return tuple(_entry(row) for row in connection.execute(query))

    def verify(self, known: str | None = None) -> Head:
        """Read the whole trail; return its end. `known`: the hash of a former end, which must still be there.

        Raises BrokenTrail.
        """
        before, rows, last, met = FIRST, 0, 0, known is None
        for row in self._rows():
            if row.before_sha256 != before:
                raise BrokenTrail(
                    f"row {row.id} of the audit trail does not follow row {last or '(none)'}: rows between "
                    "them were removed, added or put in another order"
                )
            content = {name: getattr(row, name) for name in _CONTENT}
            if digest(**content) != row.sha256:
                raise BrokenTrail(
                    f"row {row.id} of the audit trail ({row.at:%Y-%m-%d %H:%M:%S} UTC) was changed after it "
                    "was written"
                )
            before, rows, last = row.sha256, rows + 1, row.id
            met = met or before == known
        if not met:
            raise BrokenTrail(
                f"no row of the audit trail has the hash {known}: its end was removed, or all of it made anew"
            )
        return Head(rows=rows, entry_id=last, sha256=before)

    def after(self, entry_id: int, limit: int = _PAGE) -> tuple[AuditEntry, ...]:
        """Acts after one, the oldest first."""
        query = sa.select(audit).where(audit.c.id > entry_id).order_by(audit.c.id).limit(limit)
        with self._store.read() as connection:
            return tuple(_entry(row) for row in connection.execute(query))

    def exported(self, destination: str) -> int:
        """The last row that a destination was sent; 0: none."""
        query = sa.select(audit_export.c.last_id).where(audit_export.c.destination == destination)
        with self._store.read() as connection:
            return connection.scalar(query) or 0

    def note_exported(self, destination: str, entry_id: int) -> None:
        """A destination was sent everything up to a row."""
        values = {"destination": destination, "last_id": entry_id, "exported_at": self._store.now()}
        with self._store.write() as connection:
            connection.execute(insert_new(connection, audit_export).values(values))
            connection.execute(
                sa.update(audit_export).where(audit_export.c.destination == destination).values(values)
            )

    def _rows(self) -> Iterator[sa.Row[Any]]:
        """Page by page, so that no transaction stays open for long."""
        after = 0
        while True:
            query = sa.select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(_PAGE)
            with self._store.read() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            yield from rows
            after = rows[-1].id

    def acts(self) -> tuple[str, ...]:
        """Every kind of act that was ever recorded, sorted."""
        with self._store.read() as connection:
            return tuple(connection.scalars(sa.select(audit.c.act).distinct().order_by(audit.c.act)))


def append(
    connection: sa.Connection,
    now: datetime,
    actor: str,
    act: str,
    series_instance_uid: str | None,
    details: Mapping[str, Any],
) -> None:
    """Record an act in a transaction that does more; as its last statement: others wait for its end."""
    if connection.dialect.name == "postgresql":
        # SQLite's writers wait for each other anyway.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    before = connection.scalar(sa.select(audit.c.sha256).order_by(audit.c.id.desc()).limit(1))
    values: dict[str, Any] = {
        "at": now,
        "actor": text(actor),
        "act": text(act),
        "series_instance_uid": None if series_instance_uid is None else text(series_instance_uid),
        "details": json.dumps(dict(details), ensure_ascii=True),
        "before_sha256": before or FIRST,
    }
    connection.execute(sa.insert(audit).values(values | {"sha256": digest(**values)}))


def digest(
    *, before_sha256: str, at: datetime, actor: str, act: str, series_instance_uid: str | None, details: str
) -> str:
    """SHA-256, in hexadecimal, of the JSON list of a row's content: the row before's hash comes first."""
    when = at.astimezone(UTC).isoformat(timespec="microseconds")
    content = [before_sha256, when, actor, act, series_instance_uid, details]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode("ascii")).hexdigest()


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        entry_id=row.id,
        at=row.at,
        actor=row.actor,
        act=row.act,
        series_instance_uid=row.series_instance_uid,
        details=json.loads(row.details),
        sha256=row.sha256,
    )
