"""Series that wait in the gate, and their release: by a person, or by the gate when the time is over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.posting import GATE, Kind, let_go
from qagate.store.rows import text
from qagate.store.schema import outbox, series
from qagate.store.transitions import DeliveryState

IS_HELD = outbox.c.state == DeliveryState.HELD.value


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSeries:
    """One series that waits."""

    series_instance_uid: str
    since: datetime  #: UTC; when the first of what is held of it was decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many series wait."""

    count: int
    since: datetime | None  #: UTC; the one that waits longest; None: none waits


class UnknownSeries(StoreError):
    """A series is not in the database."""


class Holds:
    """What a store holds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, *, until: datetime | None = None, limit: int | None = None) -> tuple[HeldSeries, ...]:
        """Series that wait, the longest first; `until`: only those that wait since then or longer."""
        since = sa.func.min(outbox.c.created_at)
        query = (
            sa.select(series.c.series_instance_uid, since.label("since"))
            .join(outbox, outbox.c.series_id == series.c.id)
            .where(IS_HELD)
            .group_by(series.c.id, series.c.series_instance_uid)
            .order_by(since, series.c.id)
            .limit(limit)
        )
        if until is not None:
            query = query.having(since <= until)
        with self._store.read() as connection:
            return tuple(HeldSeries(**row._mapping) for row in connection.execute(query))

    def waiting(self) -> Waiting:
        """How many wait, and since when."""
        with self._store.read() as connection:
            return waiting(connection)

    def release(self, series_instance_uid: str, *, actor: str, reason: str = "") -> bool:
        """Send a series on its way, with its line in the audit trail; False when nothing of it is held.

        Two who release it at once: one does, the other gets False. Raises UnknownSeries.
        """
        now = self._store.now()
        with self._store.write() as connection:
            row = connection.execute(
                sa.select(series.c.id, series.c.revision)
                .where(series.c.series_instance_uid == text(series_instance_uid))
                .with_for_update()
            ).one_or_none()
            if row is None:
                raise UnknownSeries(f"series {series_instance_uid} is not in the database")
            count = let_go(connection, row.id, now)
            if count:
                told = {"revision": row.revision, "deliveries": count, "reason": text(reason)}
                append(connection, now, actor, "release", series_instance_uid, told)
            return bool(count)

    def release_waiting(self, until: datetime, reason: str) -> tuple[str, ...]:
        """Let the gate itself release what waits since then or longer; return the UIDs."""
        due = [one.series_instance_uid for one in self.all(until=until)]
        return self.release_each(due, actor=GATE, reason=reason)

    def release_each(self, uids: Iterable[str], *, actor: str, reason: str = "") -> tuple[str, ...]:
        """Release several, each in its own transaction; return those that were held. Raises UnknownSeries."""
        return tuple(uid for uid in uids if self.release(uid, actor=actor, reason=reason))


def waiting(connection: sa.Connection) -> Waiting:
    """How many series wait, and since when."""
    query = sa.select(
        sa.func.count(sa.distinct(outbox.c.series_id)).label("count"),
        sa.func.min(outbox.c.created_at).label("since"),
    ).where(IS_HELD)
    return Waiting(**connection.execute(query).one()._mapping)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of a series beside its verdict."""

    held_since: datetime | None = None  #: UTC; None: it is not held
    rejected: bool = False  #: a person rejected it, or an earlier revision of it


def standings(connection: sa.Connection, ids: Collection[int]) -> Mapping[int, Standing]:
    """Key -> standing of those of these series that are held or rejected."""
    rejection = outbox.c.kind == Kind.REJECTION.value
    query = (
        sa.select(
            outbox.c.series_id,
            sa.func.min(outbox.c.created_at).filter(IS_HELD).label("held_since"),
            sa.func.count().filter(rejection).label("notes"),
        )
        .where(outbox.c.series_id.in_(ids), sa.or_(IS_HELD, rejection))
        .group_by(outbox.c.series_id)
    )
    return {
        row.series_id: Standing(held_since=row.held_since, rejected=row.notes > 0)
        for row in connection.execute(query)
    }
