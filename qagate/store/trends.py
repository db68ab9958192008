"""How series scored over time: single values, days, doses. Reads only. Days are those of UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.observations import Observation, observations
from qagate.store.schema import baseline, observation, series

QUALITY = "quality"  #: the figure that is a column; every other is a measure or a dose
_Row = TypeVar("_Row")
_MOST_DISTINCT = 200
_NEWEST = 5000  #: series whose coils and kernels are offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which series; None is any."""

    since: datetime
    until: datetime  #: not itself
    station: str | None = None
    protocol_name: str | None = None
    modality: str | None = None
    region: str | None = None
    type: str | None = None
    coil: str | None = None
    kernel: str | None = None
    weights_sha256: str | None = None  #: another model's qualities are another scale

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """As conditions on `observation`."""
        found = [observation.c.decided_at >= self.since, observation.c.decided_at < self.until]
        for name in FILTERS:
            value = getattr(self, name)
            if value is not None:
                found.append(observation.c[name] == value)
        return found


FILTERS = ("station", "protocol_name", "modality", "region", "type", "coil", "kernel", "weights_sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A figure of one series."""

    series_instance_uid: str
    at: datetime  #: of the decision
    value: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A figure over the series of one day."""

    day: date
    mean: float
    count: int
    low: float  #: the smallest
    high: float  #: the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Dosed:
    """One CT series with its dose."""

    series_instance_uid: str
    at: datetime
    ctdi_vol_mgy: float
    value: float


class Trends:
    """Questions to the observations of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def values(self, of: Selection, figure: str, limit: int) -> tuple[Value, ...]:
        """The newest of them, oldest first."""
        return self._newest(Value, of, limit, verdict=observation.c.verdict, value=_figure(figure))

    def days(self, of: Selection, figure: str) -> tuple[Day, ...]:
        """Each day that has some, oldest first."""
        with self._store.read() as connection:
            day = day_of(connection, observation.c.decided_at).label("day")
            each = sa.select(day, _figure(figure).label("value")).where(*of.conditions())
            # Else SQLite reads the JSON anew for mean, least and most.
            found = each.cte("found").prefix_with("MATERIALIZED")
            value = found.c.value
            query = (
                sa.select(
                    found.c.day,
                    sa.func.avg(value).label("mean"),
                    sa.func.count().label("count"),
                    sa.func.min(value).label("low"),
                    sa.func.max(value).label("high"),
                )
                .where(value.is_not(None))
                .group_by(found.c.day)
                .order_by(found.c.day)
            )
            return tuple(
                Day(**{**row._mapping, "day": date.fromisoformat(row.day)})
                for row in connection.execute(query)
            )

    def doses(self, of: Selection, figure: str, limit: int) -> tuple[Dosed, ...]:
        """The newest CT series that have a dose and the figure, oldest first."""
        dose = _figure("ctdi_vol_mgy")
        return self._newest(Dosed, of, limit, ctdi_vol_mgy=dose, value=_figure(figure))

    def _newest(
        self, made: Callable[..., _Row], of: Selection, limit: int, **columns: sa.ColumnElement[Any]
    ) -> tuple[_Row, ...]:
        """The newest series that have every column, oldest first; the columns' names are the fields'."""
        query = (
            sa.select(
                series.c.series_instance_uid,
                observation.c.decided_at.label("at"),
                *(column.label(name) for name, column in columns.items()),
            )
            .join(series, series.c.id == observation.c.series_id)
            .where(*of.conditions(), *(column.is_not(None) for column in columns.values()))
            .order_by(observation.c.decided_at.desc(), observation.c.series_id.desc())
            .limit(limit)
        )
        with self._store.read() as connection:
            rows = connection.execute(query).all()
        return tuple(made(**row._mapping) for row in reversed(rows))

    def observations(self, of: Selection, newest: int) -> tuple[Observation, ...]:
        """What was seen of the newest series, newest first."""
        with self._store.read() as connection:
            return tuple(observations(connection, *of.conditions(), newest=newest))

    def latest_model(self, of: Selection | None = None) -> str | None:
        """sha256 of the weights that decided last (of: among these); None: nothing was."""
        query = sa.select(observation.c.weights_sha256).where(*(of.conditions() if of else ()))
        with self._store.read() as connection:
            return connection.scalar(query.order_by(observation.c.decided_at.desc()).limit(1))

    def compared(self) -> tuple[Mapping[str, str], ...]:
        """What there is to choose from: each station, protocol, modality, region and type that was scored."""
        names = ("station", "protocol_name", "modality", "region", "type")
        columns = [baseline.c[name] for name in names]
        with self._store.read() as connection:
            rows = connection.execute(sa.select(*columns).distinct().order_by(*columns))
            return tuple(dict(row._mapping) for row in rows)

    def distinct(self, of: Selection, name: str) -> tuple[str, ...]:
        """What a filter (one of FILTERS) has among the newest of a selection, without ""; 200 at most."""
        newest = (
            sa.select(observation.c[name].label("value"))
            .where(*of.conditions())
            .order_by(observation.c.decided_at.desc())
            .limit(_NEWEST)
            .subquery()
        )
        value = newest.c.value
        query = sa.select(value).distinct().where(value != "").order_by(value)
        with self._store.read() as connection:
            return tuple(connection.scalars(query.limit(_MOST_DISTINCT)))


def _figure(name: str) -> sa.ColumnElement[Any]:
    return observation.c.quality if name == QUALITY else observation.c.figures[name].as_float()


def day_of(connection: sa.Connection, column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The UTC day of a time column, as text: 2026-03-01."""
    if connection.dialect.name == "sqlite":  # times are UTC text
        return sa.func.substr(column, 1, 10)
    return sa.func.to_char(sa.func.timezone("UTC", column), "YYYY-MM-DD")
