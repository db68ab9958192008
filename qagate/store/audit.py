"""Who did what, when. Rows are only ever added, and hold no patient data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.rows import text
from qagate.store.schema import audit


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act."""

    entry_id: int
    at: datetime  #: UTC
    actor: str  #: a user name
    act: str  #: one word or two, such as "disagree"
    series_instance_uid: str | None
    details: Mapping[str, Any]


class Trail:
    """The audit trail of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self, *, actor: str, act: str, series_instance_uid: str | None = None, details: Mapping[str, Any] = {}
    ) -> None:
        """Record an act. Raises StoreError; who acts must not go on then."""
        with self._store.write() as connection:
            connection.execute(entry(self._store.now(), actor, act, series_instance_uid, details))

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

    def acts(self) -> tuple[str, ...]:
        """Every kind of act that was ever recorded, sorted."""
        with self._store.read() as connection:
            return tuple(connection.scalars(sa.select(audit.c.act).distinct().order_by(audit.c.act)))


def entry(
    now: datetime, actor: str, act: str, series_instance_uid: str | None, details: Mapping[str, Any]
) -> sa.Insert:
    """The statement that records an act, for a transaction that does more."""
    return sa.insert(audit).values(
        at=now,
        actor=text(actor),
        act=act,
        series_instance_uid=None if series_instance_uid is None else text(series_instance_uid),
        details=json.dumps(dict(details), ensure_ascii=True),
    )


def _entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        entry_id=row.id,
        at=row.at,
        actor=row.actor,
        act=row.act,
        series_instance_uid=row.series_instance_uid,
        details=json.loads(row.details),
    )
