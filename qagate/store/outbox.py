"""The outbox: what a decision wants delivered, one row a destination, each acknowledged or a dead letter."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, select

from qagate.series import State
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.posting import Kind, OutboxItem, deliver_if_done, insert_items
from qagate.store.rows import associations_of, text
from qagate.store.schema import outbox, series
from qagate.store.transitions import DeliveryState, move, move_delivery

_UNKNOWN_FATE = "the sender died while sending: whether the alert arrived is unknown, so it is not sent again"
_DUE = outbox.alias("due")  # made once: idle senders ask all the time
_IMAGES = outbox.alias("images")
_BEFORE_ITS_IMAGES = and_(
    _DUE.c.kind == Kind.REJECTION.value,
    exists().where(
        _IMAGES.c.series_id == _DUE.c.series_id,
        _IMAGES.c.destination == _DUE.c.destination,
        _IMAGES.c.kind == Kind.FORWARD.value,
        _IMAGES.c.revision <= _DUE.c.revision,
        _IMAGES.c.state != DeliveryState.SENT.value,
    ),
)

__all__ = ["Delivery", "Kind", "Outbox", "OutboxItem", "Retry", "RetryPolicy", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One claimed outbox row."""

    delivery_id: int  #: the store's key
    series_id: int
    series_instance_uid: str
    revision: int
    kind: Kind
    destination: str
    payload: str
    attempts: int  #: this one included
    created_at: datetime  #: UTC
    lease_token: str
    associations: tuple[str, ...] = ()  #: the first that fed the series' present revision


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waits between tries: doubling, capped, up to `jitter` shorter so that not all return at once."""

    first_s: float = 5.0
    longest_s: float = 900.0
    max_attempts: int = 50
    jitter: float = 0.25  #: 0 to 1

    def wait_s(self, attempts: int) -> float | None:
        """Return the seconds to wait after that many failed tries; None: give up."""
        if attempts >= self.max_attempts:
            return None
        wait = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 60))
        return wait * (1.0 - self.jitter * random.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What became of a delivery that failed."""

    state: DeliveryState  #: PENDING (tried again at `not_before`) or DEAD
    not_before: datetime | None  #: UTC; None when dead


class Outbox:
    """Claims outbox rows for senders and records what became of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, series_id: int, revision: int, items: Iterable[OutboxItem]) -> int:
        """Add rows outside of a decision; those there already are passed over. Return how many are new."""
        with self._store.write() as connection:
            state = connection.execute(
                select(series.c.state).where(series.c.id == series_id).with_for_update()
            ).scalar_one_or_none()
            if state is None:
                raise StoreError(f"series {series_id} is not in the database")
            added = insert_items(connection, series_id, revision, items, self._store.now())
            if added and State(state) is State.DELIVERED:
                connection.execute(
                    move(State.DELIVERED, State.DECIDED).where(
                        series.c.id == series_id, series.c.revision == revision
                    )
                )
            return added

    def claim(
        self,
        lease_s: float,
        *,
        kinds: Collection[Kind] | None = None,
        destination: str | None = None,
    ) -> Delivery | None:
        """Take the delivery that waited longest and mark it SENDING, durably, before anything is sent.

        kinds, destination: only these (None: all). None when nothing is due. A rejection is not due before
        the archive has every image it names. A caller that is silent for
        `lease_s` seconds loses the delivery to `reap`.
        """
        now = self._store.now()
        oldest = (
            select(_DUE.c.id)
            .where(_DUE.c.state == DeliveryState.PENDING.value, _DUE.c.not_before <= now, ~_BEFORE_ITS_IMAGES)
            .order_by(_DUE.c.not_before, _DUE.c.id)
            .limit(1)
        )
        if kinds is not None:
            oldest = oldest.where(_DUE.c.kind.in_([kind.value for kind in kinds]))
        if destination is not None:
            oldest = oldest.where(_DUE.c.destination == destination)
        with self._store.read() as connection:  # an idle sender takes no write lock
            if connection.execute(oldest).first() is None:
                return None
        token = str(uuid.uuid4())
        statement = (
            move_delivery(DeliveryState.PENDING, DeliveryState.SENDING)
            .where(outbox.c.id == oldest.with_for_update(skip_locked=True).scalar_subquery())
            .values(
                attempts=outbox.c.attempts + 1,
                lease_token=token,
                lease_expires_at=now + timedelta(seconds=lease_s),
            )
            .returning(*outbox.c)
        )
        with self._store.write() as connection:
            row = connection.execute(statement).one_or_none()
            if row is None:
                return None
            of = connection.execute(
                select(series.c.series_instance_uid, series.c.associations).where(
                    series.c.id == row.series_id
                )
            ).one()
        return _delivery(row, of, token)

    def heartbeat(self, delivery: Delivery, lease_s: float) -> bool:
        """Renew the lease; False when it is lost."""
        until = self._store.now() + timedelta(seconds=lease_s)
        with self._store.write() as connection:
            statement = outbox.update().where(
                outbox.c.id == delivery.delivery_id,
                outbox.c.lease_token == delivery.lease_token,
                outbox.c.state == DeliveryState.SENDING.value,
            )
            return connection.execute(statement.values(lease_expires_at=until)).rowcount == 1

    def mark_sent(self, delivery: Delivery) -> bool:
        """Record the acknowledgement; the series becomes DELIVERED with its last row.

        It counts even after the lease ran out, as long as nobody else claimed the row: then False.
        """
        with self._store.write() as connection:
            state = held(connection, delivery)
            if state is None or state is DeliveryState.SENT:
                return False
            connection.execute(
                move_delivery(state, DeliveryState.SENT)
                .where(outbox.c.id == delivery.delivery_id)
                .values(sent_at=self._store.now(), lease_expires_at=None, last_error=None)
            )
            deliver_if_done(connection, delivery.series_id)
            return True

    def mark_retry(self, delivery: Delivery, error: str, policy: RetryPolicy) -> Retry | None:
        """Record a failed try and decide what follows; None when the lease was lost."""
        wait = policy.wait_s(delivery.attempts)
        if wait is None:
            return self.mark_dead(delivery, error)
        not_before = self._store.now() + timedelta(seconds=wait)
        with self._store.write() as connection:
            if held(connection, delivery) is not DeliveryState.SENDING:
                return None
            connection.execute(
                move_delivery(DeliveryState.SENDING, DeliveryState.PENDING)
                .where(outbox.c.id == delivery.delivery_id)
                .values(not_before=not_before, last_error=text(error), lease_expires_at=None)
            )
        return Retry(state=DeliveryState.PENDING, not_before=not_before)

    def mark_dead(self, delivery: Delivery, error: str) -> Retry | None:
        """Give up at once, for an error that no retry mends; None when the lease was lost."""
        with self._store.write() as connection:
            if held(connection, delivery) is not DeliveryState.SENDING:
                return None
            connection.execute(
                move_delivery(DeliveryState.SENDING, DeliveryState.DEAD)
                .where(outbox.c.id == delivery.delivery_id)
                .values(last_error=text(error), lease_expires_at=None)
            )
        return Retry(state=DeliveryState.DEAD, not_before=None)

    def reap(self, *, max_attempts: int = 50, resend_alerts: bool = False) -> int:
        """Return deliveries whose lease ran out to the queue, or to the dead letters; return how many.

        An alert becomes a dead letter unless `resend_alerts`: sent twice is worse than asked about.
        """
        now = self._store.now()
        with self._store.write() as connection:
            expired = connection.execute(
                select(outbox.c.id, outbox.c.kind, outbox.c.attempts)
                .where(outbox.c.state == DeliveryState.SENDING.value, outbox.c.lease_expires_at <= now)
                .order_by(outbox.c.id)
                .with_for_update(skip_locked=True)
            ).all()
            for row in expired:
                error, new = "the sender died or stalled while sending", DeliveryState.PENDING
                if Kind(row.kind) is Kind.ALERT and not resend_alerts:
                    error, new = _UNKNOWN_FATE, DeliveryState.DEAD
                elif row.attempts >= max_attempts:
                    new = DeliveryState.DEAD
                connection.execute(
                    move_delivery(DeliveryState.SENDING, new)
                    .where(outbox.c.id == row.id)
                    .values(not_before=now, lease_expires_at=None, last_error=error)
                )
        return len(expired)

    def requeue_dead(self, series_instance_uid: str | None = None) -> int:
        """Try dead letters again (of one series, or all) from the first try; return how many."""
        with self._store.write() as connection:
            statement = move_delivery(DeliveryState.DEAD, DeliveryState.PENDING).values(
                attempts=0, not_before=self._store.now(), lease_token=None
            )
            if series_instance_uid is not None:
                uid = series.c.series_instance_uid == series_instance_uid
                statement = statement.where(outbox.c.series_id.in_(select(series.c.id).where(uid)))
            return connection.execute(statement).rowcount


def held(connection: Connection, delivery: Delivery) -> DeliveryState | None:
    """Return the row's state, locked; None when another claim replaced this one."""
    state = connection.execute(
        select(outbox.c.state)
        .where(outbox.c.id == delivery.delivery_id, outbox.c.lease_token == delivery.lease_token)
        .with_for_update()
    ).scalar_one_or_none()
    return None if state is None else DeliveryState(state)


def _delivery(row: Row[tuple[object, ...]], of: Row[*tuple[Any, ...]], token: str) -> Delivery:
    return Delivery(
        delivery_id=row.id,
        series_id=row.series_id,
        series_instance_uid=of.series_instance_uid,
        revision=row.revision,
        kind=Kind(row.kind),
        destination=row.destination,
        payload=row.payload,
        attempts=row.attempts,
        created_at=row.created_at,
        lease_token=token,
        associations=associations_of(of.associations),
    )
