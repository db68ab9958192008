"""The worklist: pages of series by filter and order. One index holds all that is filtered and ordered by."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from qagate.assessment import BAD, Verdict
from qagate.label import LabelKind
from qagate.series import State
from qagate.store.desk import DeskSeries, desk_series
from qagate.store.engine import Store
from qagate.store.notices import HELD, problems
from qagate.store.schema import acknowledged, label, series

PAGE = 50  #: series on a page
COUNTED = 1000  #: series counted; beyond it there are "more than" that
_EXPORT = 500  #: series read in one transaction of an export


class Order(Enum):
    """What comes first."""

    NEWEST = "newest"  #: the series whose last instance came last
    OLDEST = "oldest"
    WORST = "worst"  #: lowest quality; series without one come last, here and in the next
    BEST = "best"
    SCANNER = "scanner"  #: by station, then newest
    PROTOCOL = "protocol"  #: by protocol, then newest


class Only(Enum):
    """Series that ask something of people."""

    PROBLEMS = "problems"  #: failed, not delivered, or waiting for too long
    HELD = "held"  #: waiting in the gate for a release
    OPEN = "open"  #: REVIEW or REPEAT that nobody has acknowledged or answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which series; None and "" let everything pass."""

    since: datetime | None = None  #: the last instance came then or later
    until: datetime | None = None  #: it came before then
    station: str | None = None  #: StationName
    modality: str | None = None
    region: str | None = None  #: of the prompt
    protocol: str = ""  #: a part of ProtocolName, caseless
    verdict: Verdict | None = None  #: of the last decision, provisional or not
    state: State | None = None
    only: Only | None = None
    series_instance_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the worklist."""

    rows: tuple[DeskSeries, ...]
    before: str | None  #: cursor of the page before; None: this is the first
    after: str | None  #: cursor of the page after; None: this is the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What there is to filter by, in alphabetical order."""

    stations: tuple[str, ...]
    modalities: tuple[str, ...]
    regions: tuple[str, ...]


class BadCursor(ValueError):
    """The page's address is damaged; open the list's first page."""


_Key = tuple[sa.ColumnElement[Any], bool]  # and whether it rises
_TIME: tuple[_Key, ...] = ((series.c.last_received_at, False), (series.c.id, False))
_KEYS: dict[Order, tuple[_Key, ...]] = {
    Order.NEWEST: _TIME,
    Order.OLDEST: tuple((column, True) for column, _ in _TIME),
    Order.WORST: ((sa.func.coalesce(series.c.quality, 2.0), True), *_TIME),
    Order.BEST: ((sa.func.coalesce(series.c.quality, -1.0), False), *_TIME),
    Order.SCANNER: ((series.c.station_name, True), *_TIME),
    # Hidden from the indexes that begin with a station: only the worklist's is fast.
    Order.PROTOCOL: ((sa.func.coalesce(series.c.protocol_name, ""), True), *_TIME),
}


class Worklist:
    """The series of a store as a list."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(
        self,
        wanted: Filter,
        order: Order = Order.NEWEST,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int = PAGE,
    ) -> Page:
        """The first `limit` series, or those after or before a cursor. Raises BadCursor."""
        back = before is not None
        keys = tuple((column, rises is not back) for column, rises in _KEYS[order])
        query = sa.select(series.c.id, *(column for column, _ in keys[:-1])).where(*self._where(wanted))
        cursor = before if back else after
        if cursor is not None:
            query = query.where(*_beyond(keys, _decode(cursor, order)))
        query = query.order_by(*(column.asc() if rises else column.desc() for column, rises in keys))
        with self._store.read() as connection:
            read = connection.execute(query.limit(limit + 1)).all()
            more, found = len(read) > limit, list(read[:limit])
            if back:
                found.reverse()
            rows = desk_series(connection, [row.id for row in found], self._store.now())
        first, last = (_encode(found[0], order), _encode(found[-1], order)) if found else (None, None)
        return Page(
            rows=rows,
            before=first if (more if back else after is not None) else None,
            after=last if (more or back) else None,
        )

    def count(self, wanted: Filter) -> int:
        """How many series pass; at most COUNTED + 1."""
        ids = sa.select(series.c.id).where(*self._where(wanted)).limit(COUNTED + 1)
        with self._store.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(ids.subquery())) or 0

    def export(self, wanted: Filter, order: Order = Order.NEWEST) -> Iterator[DeskSeries]:
        """Every series that passes, page by page: no transaction stays open while the caller works."""
        page = self.page(wanted, order, limit=_EXPORT)
        yield from page.rows
        while page.after is not None:
            page = self.page(wanted, order, after=page.after, limit=_EXPORT)
            yield from page.rows

    def choices(self) -> Choices:
        """What there is to filter by."""
        with self._store.read() as connection:
            stations, modalities, regions = (
                _distinct(connection, series.c[name]) for name in ("station_name", "modality", "region")
            )
        return Choices(stations=stations, modalities=modalities, regions=regions)

    def _where(self, wanted: Filter) -> Iterator[sa.ColumnElement[bool]]:
        columns = {"station": "station_name", "modality": "modality", "region": "region"}
        for name, column in columns.items():
            value = getattr(wanted, name)
            if value is not None:
                # Not by the column's own index: the worklist's holds every other condition as well.
                yield sa.func.coalesce(series.c[column], "") == value
        if wanted.since is not None:
            yield series.c.last_received_at >= wanted.since
        if wanted.until is not None:
            yield series.c.last_received_at < wanted.until
        if wanted.protocol:
            yield series.c.protocol_name.icontains(wanted.protocol, autoescape=True)
        if wanted.verdict is not None:
            yield series.c.verdict == wanted.verdict.value
        if wanted.state is not None:
            yield series.c.state == wanted.state.value
        if wanted.series_instance_uid:
            yield series.c.series_instance_uid == wanted.series_instance_uid
        if wanted.only is Only.PROBLEMS:
            yield series.c.id.in_(sa.union_all(*problems(self._store.now())))
        if wanted.only is Only.HELD:
            yield series.c.id.in_(HELD)
        if wanted.only is Only.OPEN:
            yield _open()


def _open() -> sa.ColumnElement[bool]:
    seen = sa.exists().where(
        acknowledged.c.series_id == series.c.id, acknowledged.c.revision == series.c.judged_revision
    )
    answered = sa.exists().where(
        label.c.series_id == series.c.id,
        label.c.revision == series.c.judged_revision,
        label.c.kind != LabelKind.RATING.value,
    )
    bad = series.c.verdict.in_(sorted(verdict.value for verdict in BAD))
    return sa.and_(bad, ~seen, ~answered)


def _beyond(keys: Sequence[_Key], values: Sequence[Any]) -> Iterator[sa.ColumnElement[bool]]:
    """Rows after `values` in the order of `keys`; the first bound alone is what an index can use."""
    column, rises = keys[0]
    yield column >= values[0] if rises else column <= values[0]
    equal: list[sa.ColumnElement[bool]] = []
    either = []
    for (column, rises), value in zip(keys, values, strict=True):
        either.append(sa.and_(*equal, column > value if rises else column < value))
        equal.append(column == value)
    yield sa.or_(*either)


def _encode(row: sa.Row[Any], order: Order) -> str:
    values = [value.isoformat() if isinstance(value, datetime) else value for value in (*row[1:], row[0])]
    text = json.dumps([order.value, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, order: Order) -> list[Any]:
    try:
        text = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        name, *values = json.loads(text)
        *former, at, number = values
        place: list[Any] = [*former, datetime.fromisoformat(at), int(number)]
        kinds = [str if order in (Order.SCANNER, Order.PROTOCOL) else float] * len(former)
        shaped = name == order.value and len(place) == len(_KEYS[order]) and place[-2].tzinfo is not None
        if shaped and all(isinstance(value, kind) for value, kind in zip(former, kinds, strict=True)):
            return place
    except (binascii.Error, ValueError, TypeError, UnicodeEncodeError):
        pass
    raise BadCursor("this page's address is damaged: open the first page of the list")


def _distinct(connection: sa.Connection, column: sa.Column[str]) -> tuple[str, ...]:
    """The values of a column that an index begins with, by one look into the index for each value."""
    found = sa.select(sa.func.min(column).label("value")).cte("found", recursive=True)
    above = sa.select(sa.func.min(column)).where(column > found.c.value).scalar_subquery()
    found = found.union_all(sa.select(above).where(found.c.value.is_not(None)))
    return tuple(connection.scalars(sa.select(found.c.value).where(found.c.value.is_not(None))))
