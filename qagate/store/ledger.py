"""The books of the gate: what it holds of each series, where they contradict themselves, their mending."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.series import Instance, Series, State
from qagate.store.engine import Store
from qagate.store.outbox import Kind
from qagate.store.rows import instances_of, series_of
from qagate.store.schema import UNPURGED, instance, outbox, result, series
from qagate.store.transitions import DeliveryState, move, move_delivery

_PAGE = 200
_JUDGED = (State.DECIDED.value, State.DELIVERED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One series with the instances that its row says are in the spool."""

    series_id: int
    series_instance_uid: str
    state: State
    purged: bool  #: images of earlier revisions were deleted on purpose
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One delivery to an archive."""

    delivery_id: int
    series_instance_uid: str
    study_instance_uid: str
    revision: int
    kind: Kind
    payload: str  #: path of a document, or a JSON list of spool paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """One series whose rows do not fit each other."""

    series_id: int
    series_instance_uid: str
    sentence: str
    mendable: bool  #: `Ledger.mend` sets it right


class Ledger:
    """Questions to the books of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def held(self) -> Iterator[Held]:
        """Every series with what its row says is in the spool, page by page."""
        after = 0
        while True:
            query = sa.select(series).where(series.c.id > after).order_by(series.c.id).limit(_PAGE)
            with self._store.read() as connection:
                page = [_held(connection, row) for row in connection.execute(query).all()]
            if not page:
                return
            yield from page
            after = page[-1].series_id

    def again(self, series_id: int) -> Held | None:
        """One series as it is now; None when it was deleted."""
        with self._store.read() as connection:
            row = connection.execute(sa.select(series).where(series.c.id == series_id)).one_or_none()
            return None if row is None else _held(connection, row)

    def series(self, series_instance_uid: str) -> Series | None:
        """One series with the instances that are in the spool; None when it is unknown."""
        where = series.c.series_instance_uid == series_instance_uid
        with self._store.read() as connection:
            row = connection.execute(sa.select(series).where(where)).one_or_none()
            if row is None:
                return None
            there = instances_of(connection, row.id, series_instance_uid, after=row.purged_revision or 0)
            return series_of(row, there)

    def judged(self, limit: int) -> tuple[str, ...]:
        """UIDs of the series that were decided last and whose images are there, the newest first."""
        query = sa.select(series.c.series_instance_uid).where(series.c.decided_at.is_not(None), UNPURGED)
        with self._store.read() as connection:
            return tuple(
                connection.scalars(
                    query.order_by(series.c.decided_at.desc(), series.c.id.desc()).limit(limit)
                )
            )

    def contradictions(self) -> list[Contradiction]:
        """Series whose count, state or result does not fit what else is recorded of them."""
        counted = (
            sa.select(instance.c.series_id, sa.func.count().label("number"))
            .group_by(instance.c.series_id)
            .subquery()
        )
        number = sa.func.coalesce(counted.c.number, 0)
        counts = (
            sa.select(series, number.label("number"))
            .outerjoin(counted, counted.c.series_id == series.c.id)
            .where(series.c.instance_count != number)
            .order_by(series.c.id)
        )
        found = []
        with self._store.read() as connection:
            for row in connection.execute(counts):
                told = f"counts {row.instance_count} instances, and {row.number} are recorded"
                found.append(_contradiction(row, told, mendable=True))
            for row in connection.execute(_of(State.DECIDED, ~_waits())):
                found.append(_contradiction(row, "waits for deliveries, and all were made", mendable=True))
            for row in connection.execute(_of(State.DELIVERED, _waits())):
                found.append(_contradiction(row, "is called delivered, and a delivery waits", mendable=True))
            judged = sa.exists().where(
                result.c.series_id == series.c.id, result.c.revision == series.c.revision
            )
            for row in connection.execute(
                sa.select(series).where(series.c.state.in_(_JUDGED), ~judged).order_by(series.c.id)
            ):
                told = f"is {row.state} without a result of its revision {row.revision}"
                found.append(_contradiction(row, told, mendable=False))
        return found

    def mend(self) -> None:
        """Count anew what is counted wrong; bring states in line with the deliveries."""
        number = sa.select(sa.func.count()).where(instance.c.series_id == series.c.id).scalar_subquery()
        with self._store.write() as connection:
            connection.execute(
                sa.update(series).where(series.c.instance_count != number).values(instance_count=number)
            )
            connection.execute(move(State.DECIDED, State.DELIVERED).where(~_waits()))
            connection.execute(move(State.DELIVERED, State.DECIDED).where(_waits()))

    def documents(self) -> list[Posted]:
        """Reports and key objects that are still to be delivered."""
        kinds = (Kind.SR.value, Kind.KOS.value, Kind.REJECTION.value)
        query = _posted().where(outbox.c.kind.in_(kinds), outbox.c.state != DeliveryState.SENT.value)
        with self._store.read() as connection:
            return [_posting(row) for row in connection.execute(query)]

    def waiting(self) -> Mapping[str, int]:
        """Destination -> deliveries that wait for it."""
        query = (
            sa.select(outbox.c.destination, sa.func.count().label("number"))
            .where(outbox.c.state != DeliveryState.SENT.value)
            .group_by(outbox.c.destination)
        )
        with self._store.read() as connection:
            return {row.destination: row.number for row in connection.execute(query)}

    def sent(self, destination: str, since: datetime) -> Iterator[Posted]:
        """What an archive acknowledged since a time and should show, series by series, page by page.

        It hides the images that a person rejected, and may hide the note of rejection itself.
        """
        kinds = [Kind.SR.value, Kind.KOS.value, Kind.FORWARD.value]
        note = outbox.alias("note")
        hidden = sa.and_(
            outbox.c.kind == Kind.FORWARD.value,
            sa.exists().where(
                note.c.series_id == outbox.c.series_id,
                note.c.destination == destination,
                note.c.kind == Kind.REJECTION.value,
                note.c.revision >= outbox.c.revision,
            ),
        )
        query = _posted().where(
            outbox.c.destination == destination, outbox.c.sent_at >= since, outbox.c.kind.in_(kinds),
            outbox.c.state == DeliveryState.SENT.value, ~hidden,
        )  # fmt: skip
        after = 0
        while True:
            with self._store.read() as connection:
                page = connection.execute(query.where(outbox.c.id > after).limit(_PAGE)).all()
            if not page:
                return
            yield from map(_posting, page)
            after = page[-1].id

    def send_again(self, delivery_ids: Collection[int]) -> int:
        """Let deliveries that were acknowledged be made again; return how many."""
        chosen = outbox.c.id.in_(delivery_ids)
        again = move_delivery(DeliveryState.SENT, DeliveryState.PENDING).where(chosen)
        with self._store.write() as connection:
            count = connection.execute(
                again.values(attempts=0, not_before=self._store.now(), sent_at=None, lease_token=None)
            ).rowcount
            of = sa.select(outbox.c.series_id).where(chosen)
            connection.execute(move(State.DELIVERED, State.DECIDED).where(series.c.id.in_(of), _waits()))
        return count


def _held(connection: sa.Connection, row: sa.Row[Any]) -> Held:
    purged = row.purged_revision or 0
    return Held(
        series_id=row.id,
        series_instance_uid=row.series_instance_uid,
        state=State(row.state),
        purged=bool(purged),
        instances=instances_of(connection, row.id, row.series_instance_uid, after=purged),
    )


def _waits() -> sa.ColumnElement[bool]:
    """Whether a delivery of the series' revision waits."""
    return sa.exists().where(
        outbox.c.series_id == series.c.id,
        outbox.c.revision == series.c.revision,
        outbox.c.state != DeliveryState.SENT.value,
    )


def _of(state: State, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(series).where(series.c.state == state.value, where).order_by(series.c.id)


def _contradiction(row: sa.Row[Any], sentence: str, *, mendable: bool) -> Contradiction:
    return Contradiction(
        series_id=row.id, series_instance_uid=row.series_instance_uid, sentence=sentence, mendable=mendable
    )


def _posted() -> sa.Select[Any]:
    return (
        sa.select(outbox, series.c.series_instance_uid, series.c.study_instance_uid)
        .join(series, series.c.id == outbox.c.series_id)
        .order_by(outbox.c.id)
    )


def _posting(row: sa.Row[Any]) -> Posted:
    return Posted(
        delivery_id=row.id,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        kind=Kind(row.kind),
        payload=row.payload,
    )
