"""One series with all that its page shows: results, deliveries, times, what is usual, and its neighbours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.series import Instance
from qagate.store.desk import DeskSeries, desk_series
from qagate.store.engine import Store
from qagate.store.rows import associations_of, instances_at
from qagate.store.schema import instance, observation, outbox, result, series
from qagate.store.views import Result, result_of

USUAL_OF = 100  #: newest series of the station and protocol that tell what is usual
USUAL_FROM = 5  #: series from which on a range is told
MAD_TO_SIGMA = 1.4826  #: of normally distributed values


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One delivery with its times."""

    revision: int
    kind: str
    destination: str
    state: str
    attempts: int
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """How a measure usually is: median and scaled median absolute deviation of a station's protocol."""

    median: float
    mad: float  #: times MAD_TO_SIGMA, so that median ± 2 mad holds about 95 % of what is usual
    count: int  #: series behind it

    @property
    def low(self) -> float:
        """Two deviations below the median."""
        return self.median - 2 * self.mad

    @property
    def high(self) -> float:
        """Two deviations above the median."""
        return self.median + 2 * self.mad


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDetail:
    """Everything the store knows of one series."""

    series: DeskSeries
    manufacturer_model_name: str
    first_received_at: datetime
    closed_because: str | None
    attempts: int
    purged_at: datetime | None = None  #: when retention had deleted the images; None: it did not
    associations: tuple[str, ...] = ()  #: the first that fed the present revision, as the log names them
    results: tuple[Result, ...] = ()  #: by revision
    sendings: tuple[Sending, ...] = ()
    repeats: tuple[DeskSeries, ...] = ()  #: the study's series of the same protocol, oldest first; itself too


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What tells whether the images of a revision are still the same."""

    series_instance_uid: str
    revision: int
    instances: int  #: received for that revision or an earlier one


class SeriesDetails:
    """Questions about one series."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def detail(self, series_instance_uid: str) -> SeriesDetail | None:
        """The whole of one series; None when it is unknown."""
        with self._store.read() as connection:
            row = _row(connection, series_instance_uid)
            if row is None:
                return None
            same = sa.select(series.c.id).where(
                series.c.study_instance_uid == row.study_instance_uid,
                series.c.protocol_name == row.protocol_name,
                series.c.modality == row.modality,
            )
            ids = list(connection.scalars(same.order_by(series.c.first_received_at, series.c.id)))
            others = {one.series_id: one for one in desk_series(connection, ids, self._store.now())}
            if row.id not in others:
                return None
            return SeriesDetail(
                series=others[row.id],
                manufacturer_model_name=row.manufacturer_model_name,
                first_received_at=row.first_received_at,
                closed_because=row.closed_because,
                attempts=row.attempts,
                purged_at=row.purged_at,
                associations=associations_of(row.associations),
                results=_results(connection, row.id),
                sendings=_sendings(connection, row.id),
                repeats=tuple(others.values()),
            )

    def usual(self, of: DeskSeries) -> Mapping[str, Usual]:
        """Measure -> how it is in the newest series of the same station and protocol, this one left out.

        Empty when fewer than USUAL_FROM of them were assessed.
        """
        query = (
            sa.select(observation.c.figures)
            .where(
                observation.c.station == (of.station_name or of.calling_ae_title),
                observation.c.protocol_name == of.protocol_name,
                observation.c.series_id != of.series_id,
            )
            .order_by(observation.c.decided_at.desc())
            .limit(USUAL_OF)
        )
        with self._store.read() as connection:
            rows: Sequence[dict[str, float]] = connection.scalars(query).all()
        values: dict[str, list[float]] = {}
        for figures in rows:
            for name, value in figures.items():
                values.setdefault(name, []).append(value)
        return {name: _usual(of_one) for name, of_one in values.items() if len(of_one) >= USUAL_FROM}

    def stamp(self, series_instance_uid: str, revision: int | None = None) -> Stamp | None:
        """What a revision (None: the present one) holds; None when the series is unknown or never had it."""
        with self._store.read() as connection:
            row = _row(connection, series_instance_uid)
            if row is None:
                return None
            wanted = row.revision if revision is None else revision
            if not 1 <= wanted <= row.revision:
                return None
            count = sa.select(sa.func.count()).where(
                instance.c.series_id == row.id, instance.c.revision <= wanted
            )
            return Stamp(
                series_instance_uid=series_instance_uid,
                revision=wanted,
                instances=connection.scalar(count) or 0,
            )

    def result(self, series_instance_uid: str, revision: int) -> Result | None:
        """What was concluded of one revision; None when it was not decided."""
        with self._store.read() as connection:
            row = _row(connection, series_instance_uid)
            found = _results(connection, row.id, revision) if row is not None else ()
            return next(iter(found), None)

    def instances(self, of: Stamp) -> tuple[Instance, ...]:
        """The instances of a revision, in order of receipt; empty when the series is gone."""
        with self._store.read() as connection:
            row = _row(connection, of.series_instance_uid)
            if row is None:
                return ()
            return instances_at(connection, row.id, of.series_instance_uid, of.revision)


def _row(connection: sa.Connection, series_instance_uid: str) -> sa.Row[Any] | None:
    if "\x00" in series_instance_uid:  # which Postgres refuses to look for
        return None
    query = sa.select(series).where(series.c.series_instance_uid == series_instance_uid)
    return connection.execute(query).one_or_none()


def _results(connection: sa.Connection, series_id: int, revision: int | None = None) -> tuple[Result, ...]:
    query = sa.select(result).where(result.c.series_id == series_id).order_by(result.c.revision)
    if revision is not None:
        query = query.where(result.c.revision == revision)
    return tuple(result_of(row) for row in connection.execute(query))


def _sendings(connection: sa.Connection, series_id: int) -> tuple[Sending, ...]:
    columns = [outbox.c[name] for name in Sending.__slots__]
    query = sa.select(*columns).where(outbox.c.series_id == series_id).order_by(outbox.c.id)
    return tuple(Sending(**row._mapping) for row in connection.execute(query))


def _usual(values: Sequence[float]) -> Usual:
    median = statistics.median(values)
    spread = statistics.median(abs(value - median) for value in values)
    return Usual(median=median, mad=MAD_TO_SIGMA * spread, count=len(values))
