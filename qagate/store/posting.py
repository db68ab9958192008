"""Rows enter the outbox here: on their way at once, or held until they are released."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import Connection, exists, select

from qagate.series import State
from qagate.store.audit import append
from qagate.store.rows import insert_new
from qagate.store.schema import outbox, series
from qagate.store.transitions import DeliveryState, move, move_delivery

GATE = "gate"  #: who acts in the audit trail when no person does


class Kind(Enum):
    """What is delivered."""

    SR = "SR"  #: the report
    KOS = "KOS"  #: the key object of a bad result
    FORWARD = "FORWARD"  #: received images, unchanged
    REJECTION = "REJECTION"  #: the key object by which a person rejects a series
    ALERT = "ALERT"  #: a message to people; at most once a revision, destination and topic


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """One thing to deliver."""

    kind: Kind
    destination: str  #: name of the archive, or of the alert channel (never its URL: that holds secrets)
    payload: str  #: path or JSON; together with kind and destination it is delivered once a revision
    topic: str = ""  #: of an alert: one a revision, destination and topic; "" is the verdict
    held: bool = False  #: waits for a release, unless images of the series are on their way already


def insert_items(
    connection: Connection, series_id: int, revision: int, items: Iterable[OutboxItem], now: datetime
) -> int:
    """Insert rows, passing over those there already; return how many are new.

    A series is held as a whole or not at all: items that should be held go at once when images of it are out,
    and former revisions that are held go with images that are not. The caller has locked the series.
    """
    found = list(items)
    hold = any(item.held for item in found) and not images_out(connection, series_id)
    added = 0
    for item in found:
        key = item.topic if item.kind is Kind.ALERT else hashlib.sha256(item.payload.encode()).hexdigest()
        statement = insert_new(connection, outbox).values(
            series_id=series_id,
            revision=revision,
            kind=item.kind.value,
            destination=item.destination,
            payload=item.payload,
            payload_key=key,
            state=(DeliveryState.HELD if hold and item.held else DeliveryState.PENDING).value,
            attempts=0,
            not_before=now,
            created_at=now,
        )
        # The rowcount of an INSERT that may do nothing is unknown on Postgres.
        added += len(connection.execute(statement.returning(outbox.c.id)).all())
    if not hold and any(item.kind is Kind.FORWARD for item in found):
        _overtake(connection, series_id, revision, now)
    return added


def deliver_if_done(connection: Connection, series_id: int) -> None:
    """Move a DECIDED series to DELIVERED when no row of its revision waits."""
    # Locked before the count: of two senders that end at once, the second then sees the first's row as SENT.
    row = connection.execute(
        select(series.c.revision, series.c.state).where(series.c.id == series_id).with_for_update()
    ).one()
    waiting = exists().where(
        outbox.c.series_id == series_id,
        outbox.c.revision == row.revision,
        outbox.c.state != DeliveryState.SENT.value,
    )
    if State(row.state) is State.DECIDED and not connection.execute(select(waiting)).scalar_one():
        connection.execute(move(State.DECIDED, State.DELIVERED).where(series.c.id == series_id))


def images_out(connection: Connection, series_id: int) -> bool:
    """Whether images of a series were sent to an archive or are on their way there."""
    out = exists().where(
        outbox.c.series_id == series_id,
        outbox.c.kind == Kind.FORWARD.value,
        outbox.c.state != DeliveryState.HELD.value,
    )
    return bool(connection.execute(select(out)).scalar_one())


def let_go(connection: Connection, series_id: int, now: datetime) -> int:
    """Send what is held of a series, of every revision, on its way; return how many deliveries."""
    return connection.execute(
        move_delivery(DeliveryState.HELD, DeliveryState.PENDING)
        .where(outbox.c.series_id == series_id)
        .values(not_before=now, released_at=now)
    ).rowcount


def _overtake(connection: Connection, series_id: int, revision: int, now: datetime) -> None:
    """What former revisions hold goes with a revision that is not held."""
    count = let_go(connection, series_id, now)
    if count:
        uid = connection.execute(
            select(series.c.series_instance_uid).where(series.c.id == series_id)
        ).scalar_one()
        why = {"deliveries": count, "reason": f"revision {revision} is not held"}
        append(connection, now, GATE, "release", uid, why)
