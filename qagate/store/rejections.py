"""A person rejects a series: what is held of it goes out, and after the images the note that hides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from qagate.series import Series, State
from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.posting import Kind, OutboxItem, insert_items, let_go
from qagate.store.rows import instances_of, series_of, text
from qagate.store.schema import outbox, series
from qagate.store.transitions import DeliveryState, move

SETTLED = (State.DECIDED, State.DELIVERED, State.FAILED)  #: nothing of such a series is under way


class Changed(StoreError):
    """The series is not what was confirmed: images came, or it is scored again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A series as somebody is asked to reject it."""

    series: Series  #: with every instance it ever had, purged or not
    held: bool
    rejected: bool  #: this revision was


class Rejections:
    """The rejections of a store. Only what a person confirmed may come here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def subject(self, series_instance_uid: str) -> Subject | None:
        """What would be rejected; None when the series is unknown."""
        with self._store.read() as connection:
            row = connection.execute(
                sa.select(series).where(series.c.series_instance_uid == text(series_instance_uid))
            ).one_or_none()
            if row is None:
                return None
            mine = outbox.c.series_id == row.id
            held = sa.exists().where(mine, outbox.c.state == DeliveryState.HELD.value)
            return Subject(
                series=series_of(row, instances_of(connection, row.id, row.series_instance_uid)),
                held=bool(connection.execute(sa.select(held)).scalar_one()),
                rejected=_rejected(connection, row.id, row.revision),
            )

    def reject(self, of: Series, notes: Sequence[OutboxItem], *, actor: str, reason: str) -> bool:
        """Send the notes on their way, and before them what is held; False when it was rejected already.

        of: the series as it was confirmed. Raises Changed when it is another by now.
        """
        if any(note.kind is not Kind.REJECTION for note in notes):
            raise ValueError("a rejection sends rejection notes only")
        now = self._store.now()
        with self._store.write() as connection:
            row = connection.execute(
                sa.select(series.c.state, series.c.revision, series.c.instance_count)
                .where(series.c.id == of.series_id)
                .with_for_update()
            ).one_or_none()
            confirmed = (of.revision, len(of.instances))
            if row is None or State(row.state) not in SETTLED:
                raise Changed("the series is not settled: more images came, or it is scored again")
            if (row.revision, row.instance_count) != confirmed:
                raise Changed("the series has changed since it was looked at")
            if _rejected(connection, of.series_id, of.revision):
                return False
            released = let_go(connection, of.series_id, now)
            insert_items(connection, of.series_id, of.revision, notes, now)
            if State(row.state) is State.DELIVERED:
                connection.execute(move(State.DELIVERED, State.DECIDED).where(series.c.id == of.series_id))
            told = {
                "revision": of.revision, "instances": len(of.instances), "reason": text(reason),
                "archives": [note.destination for note in notes], "released": released,
            }  # fmt: skip
            append(connection, now, actor, "reject", of.series_instance_uid, told)
            return True


def _rejected(connection: sa.Connection, series_id: int, revision: int) -> bool:
    note = sa.exists().where(
        outbox.c.series_id == series_id,
        outbox.c.revision == revision,
        outbox.c.kind == Kind.REJECTION.value,
    )
    return bool(connection.execute(sa.select(note)).scalar_one())
