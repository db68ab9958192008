"""The running baselines. They change in the transaction of the decision that changes them, or by a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.baseline import BaselineAlarm, BaselineKey, BaselineState, Point
from qagate.store.audit import append
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.outbox import OutboxItem
from qagate.store.rows import insert_new, text
from qagate.store.schema import baseline, baseline_accept

_KEY = tuple(BaselineKey.__slots__)
_NUMBERS = ("median", "mad", "anchor_median", "anchor_mad", "evidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineChange:
    """What a decision does to its baseline."""

    key: BaselineKey
    change: Callable[[BaselineState], BaselineState]  #: pure; called inside the transaction
    alarms: Callable[[int, BaselineState, BaselineState], Sequence[OutboxItem]] = lambda *_: ()
    """From the baseline's number, and its states before and after: what a new alarm sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """One baseline as people see it."""

    baseline_id: int
    key: BaselineKey
    state: BaselineState
    alarmed_at: datetime | None
    updated_at: datetime


class Baselines:
    """The baselines of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def states(self, keys: Sequence[BaselineKey]) -> dict[BaselineKey, BaselineState]:
        """The state of each key; an empty one where nothing was decided yet."""
        wanted = {key.digest: key for key in keys}
        with self._store.read() as connection:
            rows = connection.execute(sa.select(baseline).where(baseline.c.digest.in_(list(wanted))))
            found = {wanted[row.digest]: _state(row) for row in rows}
        return {key: found.get(key, BaselineState()) for key in keys}

    def rows(
        self,
        weights_sha256: str | None = None,
        *,
        alarming: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[BaselineRow, ...]:
        """The baselines of one model (None: of all), those with an alarm first, then the newest."""
        query = sa.select(baseline).order_by(
            baseline.c.alarm.is_(None), baseline.c.updated_at.desc(), baseline.c.id
        )
        query = query.limit(limit).offset(offset)
        if weights_sha256 is not None:
            query = query.where(baseline.c.weights_sha256 == weights_sha256)
        if alarming:
            query = query.where(baseline.c.alarm.is_not(None))
        with self._store.read() as connection:
            return tuple(_row(row) for row in connection.execute(query))

    def accept(
        self, baseline_id: int, change: Callable[[BaselineState], BaselineState], *, actor: str, reason: str
    ) -> BaselineRow:
        """Let a person call the present level normal; who, when and why is kept. StoreError: no such one."""
        now = self._store.now()
        with self._store.write() as connection:
            row = connection.execute(
                sa.select(baseline).where(baseline.c.id == baseline_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise StoreError(f"there is no baseline {baseline_id}: `qagate baselines` lists them")
            after = change(_state(row))
            _write(connection, row, after, now)
            connection.execute(
                sa.insert(baseline_accept).values(
                    baseline_id=baseline_id,
                    actor=text(actor),
                    reason=text(reason),
                    median_before=row.median,
                    median_after=after.median,
                    accepted_at=now,
                )
            )
            accepted = _row(connection.execute(sa.select(baseline).where(baseline.c.id == baseline_id)).one())
            append(
                connection, now, actor, "accept baseline", None, {"baseline": baseline_id, "reason": reason}
            )
            return accepted


def apply(connection: sa.Connection, change: BaselineChange, now: datetime) -> Sequence[OutboxItem]:
    """Change a baseline, locked, inside the caller's transaction; return what its alarm sends."""
    key = change.key
    values = {name: text(getattr(key, name)) for name in _KEY}
    connection.execute(
        insert_new(connection, baseline).values(
            digest=key.digest, **values, sample="[]", recent="[]", evidence=0, updated_at=now
        )
    )
    row = connection.execute(
        sa.select(baseline).where(baseline.c.digest == key.digest).with_for_update()
    ).one()
    before = _state(row)
    after = change.change(before)
    _write(connection, row, after, now)
    return change.alarms(row.id, before, after)


def _write(connection: sa.Connection, row: sa.Row[Any], after: BaselineState, now: datetime) -> None:
    alarm = after.alarm.value if after.alarm else None
    values: dict[str, Any] = {name: getattr(after, name) for name in _NUMBERS}
    values |= {"sample": _points(after.sample), "recent": _points(after.recent), "updated_at": now}
    if alarm != row.alarm:
        values |= {"alarm": alarm, "alarmed_at": now if alarm else None}
    connection.execute(sa.update(baseline).where(baseline.c.id == row.id).values(values))


def _row(row: sa.Row[Any]) -> BaselineRow:
    return BaselineRow(
        baseline_id=row.id,
        key=BaselineKey(**{name: getattr(row, name) for name in _KEY}),
        state=_state(row),
        alarmed_at=row.alarmed_at,
        updated_at=row.updated_at,
    )


def _state(row: sa.Row[Any]) -> BaselineState:
    return BaselineState(
        sample=_parsed(row.sample),
        recent=_parsed(row.recent),
        alarm=BaselineAlarm(row.alarm) if row.alarm else None,
        **{name: getattr(row, name) for name in _NUMBERS},
    )


def _points(points: Sequence[Point]) -> str:
    return json.dumps([[one.series_id, one.quality, one.repeat] for one in points], separators=(",", ":"))


def _parsed(points: str) -> tuple[Point, ...]:
    return tuple(
        Point(series_id=series_id, quality=quality, repeat=repeat)
        for series_id, quality, repeat in json.loads(points)
    )
