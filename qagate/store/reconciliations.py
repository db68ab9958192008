"""The daily count of what came in, was decided and was delivered; and whether people were told."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from qagate.series import State
from qagate.store.engine import Store
from qagate.store.notices import HELD
from qagate.store.rows import insert_new
from qagate.store.schema import outbox, reconciliation, series
from qagate.store.transitions import DeliveryState

_DECIDED = (State.DECIDED.value, State.DELIVERED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One day (UTC): the series whose last instance came then, and how far they are."""

    day: date
    instances: int  #: of these series
    received: int
    decided: int  #: their present revision has a verdict
    delivered: int  #: nothing of it waits
    failed: int  #: given up
    held: int  #: waiting for a release
    differences: tuple[str, ...]  #: a sentence each; empty when received = decided = delivered


class Reconciliations:
    """Those of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, day: date, unrecorded: int = 0) -> Reconciliation:
        """Count a day as it stands now. unrecorded: its spooled instances that are not in the database."""
        begin = datetime.combine(day, time(), UTC)
        came = (series.c.last_received_at >= begin, series.c.last_received_at < begin + timedelta(days=1))
        query = sa.select(
            series.c.state, sa.func.count().label("number"), sa.func.sum(series.c.instance_count).label("sum")
        )
        waits = sa.select(outbox.c.destination, sa.func.count().label("number"))
        waits = waits.join(series, series.c.id == outbox.c.series_id).where(
            *came, outbox.c.state.not_in((DeliveryState.SENT.value, DeliveryState.HELD.value))
        )
        held = sa.select(sa.func.count()).where(*came, series.c.id.in_(HELD))
        with self._store.read() as connection:
            rows = connection.execute(query.where(*came).group_by(series.c.state)).all()
            waiting = connection.execute(
                waits.group_by(outbox.c.destination).order_by(outbox.c.destination)
            ).all()
            held_count = connection.scalar(held) or 0
        states = {row.state: int(row.number) for row in rows}
        received = sum(states.values())
        failed = states.pop(State.FAILED.value, 0)
        decided = sum(states.pop(state, 0) for state in _DECIDED)
        sentences = []
        if unrecorded:
            sentences.append(
                f"{_are(unrecorded, 'accepted instance')} not recorded: run `qagate fsck --mend`."
            )
        if states:
            where = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
            sentences.append(f"{_are(sum(states.values()), 'series')} not decided ({where}).")
        if failed:
            sentences.append(f"{failed} series could not be scored: see `qagate status --state FAILED`.")
        for row in waiting:
            many = "delivery is" if row.number == 1 else "deliveries are"
            sentences.append(f"For {row.destination} {row.number} {many} not made yet.")
        return Reconciliation(
            day=day,
            instances=sum(int(row.sum) for row in rows),
            received=received,
            decided=decided,
            delivered=sum(int(row.number) for row in rows if row.state == State.DELIVERED.value),
            failed=failed,
            held=held_count,
            differences=tuple(sentences),
        )

    def keep(self, of: Reconciliation) -> None:
        """Keep a day's count; the first that is kept stays."""
        values = {
            name: getattr(of, name)
            for name in ("instances", "received", "decided", "delivered", "failed", "held")
        }
        values |= {"day": of.day.isoformat(), "differences": json.dumps(of.differences)}
        with self._store.write() as connection:
            connection.execute(
                insert_new(connection, reconciliation).values(**values, reconciled_at=self._store.now())
            )

    def kept(self, limit: int = 14) -> tuple[Reconciliation, ...]:
        """The last days that were counted, the newest first."""
        query = sa.select(reconciliation).order_by(reconciliation.c.day.desc()).limit(limit)
        with self._store.read() as connection:
            return tuple(_of(row) for row in connection.execute(query))

    def missing(self, until: date, most: int) -> list[date]:
        """Days before `until` that were not counted, oldest first; no more than the last `most`."""
        first = until - timedelta(days=most)
        with self._store.read() as connection:
            began = connection.scalar(sa.select(sa.func.min(series.c.first_received_at)))
            done: Collection[str] = set(
                connection.scalars(
                    sa.select(reconciliation.c.day).where(reconciliation.c.day >= first.isoformat())
                )
            )
        if began is None:
            return []
        days = (max(first, began.date()) + timedelta(days=n) for n in range(most))
        return [day for day in days if day < until and day.isoformat() not in done]

    def untold(self) -> tuple[Reconciliation, ...]:
        """Days with a difference that nobody was told of, oldest first."""
        query = sa.select(reconciliation).where(
            reconciliation.c.alerted_at.is_(None), reconciliation.c.differences != "[]"
        )
        with self._store.read() as connection:
            return tuple(_of(row) for row in connection.execute(query.order_by(reconciliation.c.day)))

    def told(self, day: date) -> None:
        """People were told."""
        with self._store.write() as connection:
            connection.execute(
                sa.update(reconciliation)
                .where(reconciliation.c.day == day.isoformat())
                .values(alerted_at=self._store.now())
            )


def _of(row: sa.Row[Any]) -> Reconciliation:
    return Reconciliation(
        day=date.fromisoformat(row.day),
        instances=row.instances,
        received=row.received,
        decided=row.decided,
        delivered=row.delivered,
        failed=row.failed,
        held=row.held,
        differences=tuple(json.loads(row.differences)),
    )


def _are(number: int, word: str) -> str:
    if number == 1:
        return f"{number} {word} is"
    return f"{number} {word if word == 'series' else word + 's'} are"
