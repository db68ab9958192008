"""What nobody may overlook, and what changed since the last look. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from qagate.assessment import Verdict
from qagate.series import State
from qagate.store.engine import Store
from qagate.store.schema import UNFINISHED, UNSENT, acknowledged, label, outbox, result, series
from qagate.store.transitions import DeliveryState

PATIENCE = timedelta(minutes=10)  #: a complete series or a delivery that waits longer needs a person
COUNTED = 1000  #: problems counted; beyond it there are "more than" that
_OVERLAP = 100  #: results looked at again: on Postgres a lower number may be committed after a higher one


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How many series need a person, whatever a list is filtered by; each number ends at COUNTED."""

    failed: int  #: given up
    undelivered: int  #: a report, image or alert that failed or waits too long
    waiting: int  #: complete, but no worker took it or finished it in time
    held: int = 0  #: waiting for a release; no fault

    @property
    def total(self) -> int:
        """All that is a fault; a series may count twice."""
        return self.failed + self.undelivered + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionNotice:
    """One decision as it is announced. Carries no free text."""

    result_id: int  #: rises with every decision
    series_instance_uid: str
    revision: int
    station_name: str
    modality: str
    verdict: Verdict
    quality: float | None  #: 0 to 1
    decided_at: datetime  #: UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the pages show, in few enough words to be compared several times a second."""

    #: series under way -> (station, state, revision, instances)
    under_way: Mapping[int, tuple[str, str, int, int]] = field(default_factory=dict)
    #: DECIDED, FAILED; of deliveries DEAD and HELD
    counts: Mapping[str, int] = field(default_factory=dict)
    result_id: int = 0
    label_id: int = 0
    acknowledged_id: int = 0

    def stations_changed(self, before: Snapshot) -> frozenset[str] | None:
        """The stations whose series under way differ; None when it may concern every station."""
        ids = ("counts", "result_id", "label_id", "acknowledged_id")
        if any(getattr(self, name) != getattr(before, name) for name in ids):
            return None
        keys = self.under_way.keys() | before.under_way.keys()
        pairs = ((self.under_way.get(key), before.under_way.get(key)) for key in keys)
        return frozenset(one[0] for pair in pairs if pair[0] != pair[1] for one in pair if one is not None)


def stuck(now: datetime) -> sa.ColumnElement[bool]:
    """Condition on `outbox`: not sent, and failed at least once or waiting for too long; never held."""
    tried = sa.or_(
        outbox.c.state == DeliveryState.DEAD.value,
        outbox.c.last_error.is_not(None),
        sa.func.coalesce(outbox.c.released_at, outbox.c.created_at) < now - PATIENCE,
    )
    return sa.and_(UNSENT, outbox.c.state != DeliveryState.HELD.value, tried)


def problems(now: datetime) -> tuple[sa.Select[tuple[int]], ...]:
    """The ids of the series that `Attention` counts: failed, undelivered, waiting."""
    late = sa.and_(
        series.c.state.in_((State.COMPLETE.value, State.SCORING.value)), series.c.closed_at < now - PATIENCE
    )
    return (
        sa.select(series.c.id).where(UNFINISHED, series.c.state == State.FAILED.value),
        sa.select(outbox.c.series_id).where(stuck(now)).distinct(),
        sa.select(series.c.id).where(UNFINISHED, late),
    )


HELD = sa.select(outbox.c.series_id).where(outbox.c.state == DeliveryState.HELD.value).distinct()
"""The ids of the series that are held."""


class Notices:
    """Questions that are asked all the time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def attention(self) -> Attention:
        """What needs a person now."""
        counted = (
            sa.select(sa.func.count()).select_from(query.limit(COUNTED).subquery()).scalar_subquery()
            for query in (*problems(self._store.now()), HELD)
        )
        with self._store.read() as connection:
            failed, undelivered, late, held = connection.execute(sa.select(*counted)).one()
        return Attention(failed=failed, undelivered=undelivered, waiting=late, held=held)

    def newest(self) -> int:
        """The number of the last decision; 0 when there is none."""
        with self._store.read() as connection:
            return connection.scalar(sa.select(sa.func.max(result.c.id))) or 0

    def decisions(self, after: int, *, limit: int = 200) -> tuple[DecisionNotice, ...]:
        """The decisions numbered above `after` (at most the newest `limit`), oldest first."""
        own = ("revision", "verdict", "quality", "decided_at")
        newest = (
            sa.select(
                result.c.id.label("result_id"),
                *(result.c[name] for name in own),
                *(series.c[name] for name in ("series_instance_uid", "station_name", "modality")),
            )
            .join(series, series.c.id == result.c.series_id)
            .where(result.c.id > after)
            .order_by(result.c.id.desc())
            .limit(limit)
        )
        with self._store.read() as connection:
            rows = connection.execute(newest).all()
        return tuple(
            DecisionNotice(**{**row._mapping, "verdict": Verdict(row.verdict)}) for row in reversed(rows)
        )

    def snapshot(self) -> Snapshot:
        """What the pages show now."""
        newest = (sa.select(sa.func.max(table.c.id)).scalar_subquery() for table in _GROWING)
        counts = sa.select(series.c.state, sa.func.count().label("number")).group_by(series.c.state)
        decided, failed = State.DECIDED.value, State.FAILED.value
        dead, held = (
            sa.select(sa.func.count()).where(outbox.c.state == name).scalar_subquery() for name in _COUNTED
        )
        names = ("id", "station_name", "state", "revision", "instance_count")
        with self._store.read() as connection:
            ids = connection.execute(sa.select(*newest, dead, held)).one()
            numbers = connection.execute(counts.where(series.c.state.in_((decided, failed))))
            found = {row.state: row.number for row in numbers}
            rows = connection.execute(
                sa.select(*(series.c[name] for name in names)).where(UNFINISHED, series.c.state != failed)
            )
            return Snapshot(
                under_way={row[0]: (row[1], row[2], row[3], row[4]) for row in rows},
                counts=found | dict(zip(_COUNTED, ids[-2:], strict=True)),
                result_id=ids[0] or 0,
                label_id=ids[1] or 0,
                acknowledged_id=ids[2] or 0,
            )


_GROWING = (result, label, acknowledged)
_COUNTED = (DeliveryState.DEAD.value, DeliveryState.HELD.value)


class Decided:
    """Hands out each new decision once, in order of its number as far as the database allows."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._newest = notices.newest()
        self._known = {one.result_id for one in notices.decisions(self._newest - _OVERLAP)}

    def new(self) -> tuple[DecisionNotice, ...]:
        """The decisions since the last call."""
        found = self._notices.decisions(self._newest - _OVERLAP)
        fresh = tuple(one for one in found if one.result_id not in self._known)
        self._newest = max([self._newest, *(one.result_id for one in found)])
        self._known = {one.result_id for one in found}
        return fresh
