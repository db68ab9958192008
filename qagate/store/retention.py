"""Which series' images may be deleted, and the mark that they were. Rows are never deleted.

A series may be purged when it is DELIVERED, nothing of any of its revisions waits or was given up, no other
bytes came under one of its UIDs (nobody delivered those), no label of it waits to be exported, and the gate
never promised its sender that the spool itself keeps what it sends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.commitment import Basis
from qagate.series import Instance, State
from qagate.store.engine import Store
from qagate.store.rows import instances_of
from qagate.store.schema import UNPURGED, audit, commitment, conflict, label, outbox, series
from qagate.store.transitions import DeliveryState

EXPORT_ACT = "export labels"  #: the act of the audit trail that says up to which label was exported


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """One series whose images are to be deleted, marked so before they are."""

    series_id: int
    series_instance_uid: str
    revision: int  #: its images, and those of the revisions before, go
    instances: tuple[Instance, ...]


class Retention:
    """Marks of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def oldest(self, before: datetime, limit: int) -> tuple[int, ...]:
        """Keys of series that may be purged and whose last instance came before a time, oldest first."""
        with self._store.read() as connection:
            query = sa.select(series.c.id).where(*_may_go(_exported(connection)))
            query = query.where(series.c.last_received_at < before)
            query = query.order_by(series.c.last_received_at, series.c.id).limit(limit)
            return tuple(connection.scalars(query))

    def newest(self) -> datetime | None:
        """When the last instance came; None without any."""
        with self._store.read() as connection:
            newest: datetime | None = connection.scalar(sa.select(sa.func.max(series.c.last_received_at)))
            return newest

    def begin(self, series_id: int) -> Purge | None:
        """Mark a series, then its files may go; None when it may not be purged any more."""
        with self._store.write() as connection:
            mine = series.c.id == series_id
            # The lock first: a recorder or a sender that comes now waits, and one that came before is seen.
            if connection.execute(sa.select(series.c.id).where(mine).with_for_update()).first() is None:
                return None
            row = connection.execute(
                sa.update(series)
                .where(mine, *_may_go(_exported(connection)))
                .values(purged_revision=series.c.revision, purged_at=None)
                .returning(*series.c)
            ).one_or_none()
            return None if row is None else _purge(connection, row)

    def begun(self) -> tuple[Purge, ...]:
        """Series that were marked, and whose files may still be there: the last purge was interrupted."""
        query = sa.select(series).where(series.c.purged_revision.is_not(None), series.c.purged_at.is_(None))
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(series.c.id)).all()
            return tuple(_purge(connection, row) for row in rows)

    def done(self, purge: Purge) -> None:
        """The files are gone."""
        with self._store.write() as connection:
            connection.execute(
                sa.update(series).where(series.c.id == purge.series_id).values(purged_at=self._store.now())
            )

    def last_label(self) -> int:
        """The newest label's key; 0 without labels. An export that begins now holds it."""
        with self._store.read() as connection:
            return connection.scalar(sa.select(sa.func.max(label.c.id))) or 0


def _may_go(exported: int) -> Sequence[sa.ColumnExpressionArgument[bool]]:
    mine = (outbox.c.series_id == series.c.id, outbox.c.state != DeliveryState.SENT.value)
    return (
        series.c.state == State.DELIVERED.value,
        UNPURGED,
        series.c.judged_revision == series.c.revision,
        ~sa.exists().where(*mine),
        ~sa.exists().where(conflict.c.series_id == series.c.id),
        ~sa.exists().where(
            commitment.c.ae_title == series.c.calling_ae_title, commitment.c.basis == Basis.SPOOL.value
        ),
        ~sa.exists().where(label.c.series_id == series.c.id, label.c.id > exported),
    )


def _exported(connection: sa.Connection) -> int:
    """The last label that is in an export."""
    query = sa.select(audit.c.details).where(audit.c.act == EXPORT_ACT).order_by(audit.c.id.desc())
    for details in connection.scalars(query):
        up_to = json.loads(details).get("up_to")
        if isinstance(up_to, int):
            return up_to
    return 0


def _purge(connection: sa.Connection, row: sa.Row[Any]) -> Purge:
    return Purge(
        series_id=row.id,
        series_instance_uid=row.series_instance_uid,
        revision=row.purged_revision,
        instances=instances_of(connection, row.id, row.series_instance_uid),
    )
