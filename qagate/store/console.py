"""The console: the last series of a scanner, each with what a glance must tell; and acknowledgements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Finding, SliceScore
from qagate.store.codec import load_assessment
from qagate.store.desk import DeskSeries, desk_series
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.rows import insert_new
from qagate.store.schema import acknowledged, result, series

TILES = 6  #: series on a console


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One series on the console."""

    series: DeskSeries
    findings: tuple[Finding, ...] = ()  #: the severest first
    worst: SliceScore | None = None  #: the scored slice of the lowest quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One scanner that sends."""

    name: str  #: StationName; "" when the scanner gives none
    last_received_at: datetime  #: UTC


class Console:
    """The newest series of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tiles(self, station: str | None = None, *, limit: int = TILES) -> tuple[Tile, ...]:
        """The series whose last instance came last, newest first; None: of every scanner."""
        query = sa.select(series.c.id).order_by(series.c.last_received_at.desc(), series.c.id.desc())
        if station is not None:
            query = query.where(series.c.station_name == station)
        with self._store.read() as connection:
            ids = list(connection.scalars(query.limit(limit)))
            return _tiles(connection, ids, self._store.now())

    def tile(self, series_instance_uid: str) -> Tile | None:
        """One series; None when it is unknown."""
        query = sa.select(series.c.id).where(series.c.series_instance_uid == series_instance_uid)
        with self._store.read() as connection:
            ids = list(connection.scalars(query))
            return next(iter(_tiles(connection, ids, self._store.now())), None)

    def stations(self) -> tuple[Station, ...]:
        """Every scanner that ever sent, the one that sent last first."""
        name = sa.select(sa.func.min(series.c.station_name).label("name")).cte("station", recursive=True)
        above = sa.select(sa.func.min(series.c.station_name)).where(series.c.station_name > name.c.name)
        name = name.union_all(sa.select(above.scalar_subquery()).where(name.c.name.is_not(None)))
        newest = sa.select(sa.func.max(series.c.last_received_at)).where(series.c.station_name == name.c.name)
        query = sa.select(
            name.c.name,
            sa.type_coerce(newest.scalar_subquery(), series.c.last_received_at.type).label("last"),
        ).where(name.c.name.is_not(None))
        with self._store.read() as connection:
            found = [Station(name=row.name, last_received_at=row.last) for row in connection.execute(query)]
        return tuple(sorted(found, key=lambda one: one.last_received_at, reverse=True))

    def acknowledge(self, seen: Iterable[tuple[str, int]], actor: str) -> tuple[str, ...]:
        """Note that `actor` has seen these verdicts, each a series and its revision.

        Returns the series noted; those seen by the same person before are passed over. Raises StoreError,
        having noted nothing, for a series that is not in the database or a revision that was never decided.
        """
        now, noted = self._store.now(), []
        with self._store.write() as connection:
            for uid, revision in dict.fromkeys(seen):
                decided = (
                    sa.select(result.c.series_id)
                    .join(series, series.c.id == result.c.series_id)
                    .where(series.c.series_instance_uid == uid, result.c.revision == revision)
                )
                key = connection.scalar(decided)
                if key is None:
                    raise StoreError(
                        f"series {uid} has no verdict of revision {revision}: look at it again, it has "
                        "changed or was deleted"
                    )
                values = {"series_id": key, "revision": revision, "actor": actor, "at": now}
                row = insert_new(connection, acknowledged).values(values).returning(acknowledged.c.id)
                if connection.execute(row).all():
                    noted.append(uid)
        return tuple(noted)


def _tiles(connection: sa.Connection, ids: list[int], now: datetime) -> tuple[Tile, ...]:
    found = desk_series(connection, ids, now)
    judged = {one.series_id: one.judged_revision for one in found}
    query: sa.Select[Any] = sa.select(result.c.series_id, result.c.revision, result.c.assessment)
    texts = {
        row.series_id: row.assessment
        for row in connection.execute(query.where(result.c.series_id.in_(ids)))
        if judged.get(row.series_id) == row.revision
    }
    return tuple(_tile(one, texts.get(one.series_id)) for one in found)


def _tile(of: DeskSeries, assessment: str | None) -> Tile:
    if assessment is None:
        return Tile(series=of)
    judged = load_assessment(assessment)
    return Tile(
        series=of,
        findings=tuple(sorted(judged.findings, key=lambda finding: -finding.severity)),
        worst=min(judged.slices, key=lambda one: one.quality, default=None),
    )
