"""What was done to the scanners. Rows are only ever added; the trends mark them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.rows import text
from qagate.store.schema import service_event


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvent:
    """One repair, calibration, software or protocol change."""

    event_id: int
    station: str  #: StationName
    at: datetime  #: when it was done, UTC
    text: str  #: free words of a person
    actor: str  #: a user name


class ServiceEvents:
    """The service events of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, *, station: str, at: datetime, words: str, actor: str) -> ServiceEvent:
        """Note what was done to a scanner, at a time with zone."""
        values = {"station": text(station), "at": at, "text": text(words), "actor": text(actor)}
        with self._store.write() as connection:
            added = sa.insert(service_event).values(values).returning(*service_event.c)
            return _event(connection.execute(added).one())

    def of(
        self, station: str | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[ServiceEvent, ...]:
        """Those of one scanner (None: of all), oldest first, from `since` to before `until`."""
        query = sa.select(service_event).order_by(service_event.c.at, service_event.c.id)
        if station is not None:
            query = query.where(service_event.c.station == station)
        if since is not None:
            query = query.where(service_event.c.at >= since)
        if until is not None:
            query = query.where(service_event.c.at < until)
        with self._store.read() as connection:
            return tuple(_event(row) for row in connection.execute(query))


def _event(row: sa.Row[tuple[object, ...]]) -> ServiceEvent:
    return ServiceEvent(event_id=row.id, station=row.station, at=row.at, text=row.text, actor=row.actor)
