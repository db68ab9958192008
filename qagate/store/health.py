"""How the gate itself does: what waits, what is stuck, how long a verdict takes. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import sqlalchemy as sa

from qagate.series import State
from qagate.store.engine import Store
from qagate.store.refusals import OF_INSTANCE
from qagate.store.rows import series_by_state
from qagate.store.schema import UNSENT, outbox, refused, result, series
from qagate.store.transitions import DeliveryState

_NEWEST_RESULTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What goes to one archive or alert channel."""

    name: str
    held: int  #: waiting for a release
    waiting: int  #: not sent yet, without a failed try
    retried: int  #: failed at least once, tried again
    dead: int  #: given up
    oldest: datetime | None  #: when the oldest of them was made; None: nothing waits
    last_error: str | None  #: of the newest that failed
    last_sent: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckDelivery:
    """One delivery that failed at least once and is not sent."""

    delivery_id: int
    series_instance_uid: str
    revision: int
    kind: str
    destination: str
    state: str
    attempts: int
    last_error: str | None
    not_before: datetime  #: of the next try


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedSeries:
    """One series that could not be scored."""

    series_instance_uid: str
    station: str
    modality: str
    last_received_at: datetime
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueHealth:
    """Series on their way to a verdict."""

    counts: Mapping[str, int]  #: state -> series
    oldest_waiting: datetime | None  #: when the series that waits longest was complete
    median_s: float | None  #: from last slice to verdict, of the newest results, quiet time included
    p95_s: float | None
    last_decided: datetime | None
    refused_today: int  #: C-STOREs answered with a failure in the last 24 hours
    rejected_today: int  #: associations and connections turned away in the last 24 hours


def _refused(connection: sa.Connection, since: datetime, kind: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).where(refused.c.refused_at >= since, kind)
    return connection.scalar(query) or 0


class Health:
    """Questions to a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def queue(self) -> QueueHealth:
        """Counts, waits and speed."""
        newest = (
            sa.select(result.c.decided_at, result.c.last_received_at)
            .order_by(result.c.id.desc())
            .limit(_NEWEST_RESULTS)
        )
        oldest = sa.select(sa.func.min(series.c.closed_at)).where(series.c.state == State.COMPLETE.value)
        day_ago = self._store.now() - timedelta(days=1)
        with self._store.read() as connection:
            rows = connection.execute(newest).all()
            taken = sorted((row.decided_at - row.last_received_at).total_seconds() for row in rows)
            return QueueHealth(
                counts=series_by_state(connection),
                oldest_waiting=connection.scalar(oldest),
                median_s=median(taken) if taken else None,
                p95_s=taken[min(int(0.95 * len(taken)), len(taken) - 1)] if taken else None,
                last_decided=rows[0].decided_at if rows else None,
                refused_today=_refused(connection, day_ago, OF_INSTANCE),
                rejected_today=_refused(connection, day_ago, ~OF_INSTANCE),
            )

    def failed(self, limit: int) -> tuple[FailedSeries, ...]:
        """Series that were given up, the newest first."""
        query = (
            sa.select(series)
            .where(series.c.state == State.FAILED.value)
            .order_by(series.c.last_received_at.desc(), series.c.id.desc())
            .limit(limit)
        )
        with self._store.read() as connection:
            return tuple(
                FailedSeries(
                    series_instance_uid=row.series_instance_uid,
                    station=row.station_name or row.calling_ae_title,
                    modality=row.modality,
                    last_received_at=row.last_received_at,
                    attempts=row.attempts,
                    last_error=row.last_error,
                )
                for row in connection.execute(query)
            )

    def stuck(self, limit: int) -> tuple[StuckDelivery, ...]:
        """Deliveries that failed and are not sent, the dead first, then the newest."""
        newest = (
            sa.select(outbox, (outbox.c.state != DeliveryState.DEAD.value).label("living"))
            .where(UNSENT, outbox.c.last_error.is_not(None))
            .order_by(sa.text("living"), outbox.c.id.desc())
            .limit(limit)
            .subquery()  # first these few, then their series
        )
        query = (
            sa.select(newest, series.c.series_instance_uid)
            .join(series, series.c.id == newest.c.series_id)
            .order_by(newest.c.living, newest.c.id.desc())
        )
        with self._store.read() as connection:
            return tuple(
                StuckDelivery(
                    delivery_id=row.id,
                    **{name: getattr(row, name) for name in StuckDelivery.__slots__ if name != "delivery_id"},
                )
                for row in connection.execute(query)
            )

    def destinations(self, names: tuple[str, ...] = ()) -> tuple[Destination, ...]:
        """Each of `names`, and every other one that something waits for."""
        dead, failed = outbox.c.state == DeliveryState.DEAD.value, outbox.c.last_error.is_not(None)
        living = outbox.c.state.in_((DeliveryState.PENDING.value, DeliveryState.SENDING.value))
        query = (
            sa.select(
                outbox.c.destination,
                sa.func.count().filter(outbox.c.state == DeliveryState.HELD.value).label("held"),
                sa.func.count().filter(living, ~failed).label("waiting"),
                sa.func.count().filter(living, failed).label("retried"),
                sa.func.count().filter(dead).label("dead"),
                sa.func.min(outbox.c.created_at).label("oldest"),
                sa.func.max(outbox.c.id).filter(failed).label("newest_failed"),
            )
            .where(UNSENT)
            .group_by(outbox.c.destination)
        )
        with self._store.read() as connection:
            rows = {row.destination: row for row in connection.execute(query)}
            return tuple(
                self._destination(connection, name, rows.get(name))
                for name in dict.fromkeys((*names, *sorted(rows)))
            )

    def _destination(
        self, connection: sa.Connection, name: str, row: sa.Row[tuple[object, ...]] | None
    ) -> Destination:
        sent = (
            sa.select(outbox.c.sent_at)
            .where(outbox.c.destination == name, outbox.c.state == DeliveryState.SENT.value)
            .order_by(outbox.c.id.desc())
            .limit(1)
        )
        error = None
        if row is not None and row.newest_failed is not None:
            error = connection.scalar(sa.select(outbox.c.last_error).where(outbox.c.id == row.newest_failed))
        return Destination(
            name=name,
            held=row.held if row else 0,
            waiting=row.waiting if row else 0,
            retried=row.retried if row else 0,
            dead=row.dead if row else 0,
            oldest=row.oldest if row else None,
            last_error=error,
            last_sent=connection.scalar(sent),
        )
