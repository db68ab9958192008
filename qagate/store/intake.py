"""Records what was received. Called inside the queue's transactions only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from qagate.series import Received, SeriesHeader, State
from qagate.store.rows import insert_new, integer, text
from qagate.store.schema import conflict, instance, series
from qagate.store.transitions import move

_LEARN_FROM = 3  #: series of one station and protocol that must agree on their number of instances
_ASSOCIATIONS = 8  #: kept of one revision; a modality may open one for every image
_SAME_REVISION = (State.RECEIVING, State.COMPLETE)
_TEXTS = tuple(
    field.name
    for field in fields(SeriesHeader)
    if field.name not in ("modality", "series_number", "expected_instances")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened:
    """A series that late instances led back to RECEIVING as a new revision."""

    series_instance_uid: str
    revision: int  #: the new one
    was: State


def record(connection: Connection, batch: Iterable[Received], now: datetime) -> tuple[Reopened, ...]:
    """Record instances, in the same order of series everywhere so that two recorders never wait in a ring."""
    by_series: dict[str, list[Received]] = {}
    for item in batch:
        by_series.setdefault(item.instance.series_instance_uid, []).append(item)
    reopened = (_record_series(connection, uid, by_series[uid], now) for uid in sorted(by_series))
    return tuple(item for item in reopened if item is not None)


def learned(connection: Connection, row: Row[Any]) -> int | None:
    """Return the number of instances that the last series of this station and protocol all had."""
    if not row.protocol_name:
        return None
    counts = connection.scalars(
        select(series.c.instance_count)
        .where(
            series.c.station_name == row.station_name,
            series.c.protocol_name == row.protocol_name,
            series.c.series_description == row.series_description,
            series.c.decided_at.is_not(None),
            series.c.state.in_((State.DECIDED.value, State.DELIVERED.value)),
        )
        .order_by(series.c.decided_at.desc())
        .limit(_LEARN_FROM)
    ).all()
    return counts[0] if len(counts) == _LEARN_FROM and len(set(counts)) == 1 else None


def _record_series(
    connection: Connection, uid: str, items: Sequence[Received], now: datetime
) -> Reopened | None:
    connection.execute(insert_new(connection, series), _first_row(uid, items[0], now))
    mine = select(series).where(series.c.series_instance_uid == uid)
    row = connection.execute(mine.with_for_update()).one()
    new, conflicting = _sort_out(connection, row.id, items)
    for item in conflicting:
        connection.execute(insert_new(connection, conflict), _conflict_row(row.id, item))
    if not new:
        return None
    old = State(row.state)
    revision = row.revision if old in _SAME_REVISION else row.revision + 1
    connection.execute(insert(instance), [_instance_row(row.id, revision, item) for item in new])
    connection.execute(
        move(old, State.RECEIVING)
        .where(series.c.id == row.id)
        .values(_merged(row, new) | _reopened(row, old, new))
    )
    if revision == row.revision:
        return None
    return Reopened(series_instance_uid=uid, revision=revision, was=old)


def _sort_out(
    connection: Connection, series_id: int, items: Sequence[Received]
) -> tuple[list[Received], list[Received]]:
    """Return the new instances and those whose bytes differ from the known ones of the same UID."""
    uids = {item.instance.sop_instance_uid for item in items}
    found = connection.execute(
        select(instance.c.sop_instance_uid, instance.c.sha256).where(
            instance.c.series_id == series_id, instance.c.sop_instance_uid.in_(uids)
        )
    )
    known: dict[str, str] = {row.sop_instance_uid: row.sha256 for row in found}
    new: list[Received] = []
    conflicting: list[Received] = []
    for item in items:
        uid, sha256 = item.instance.sop_instance_uid, item.instance.sha256
        if uid not in known:
            known[uid] = sha256
            new.append(item)
        elif known[uid] != sha256:
            conflicting.append(item)
    return new, conflicting


def _merged(row: Row[Any], new: Sequence[Received]) -> dict[str, object]:
    """What the series row becomes whatever its state: counts, times, header values it lacked."""
    times = [item.instance.received_at for item in new]
    modalities = [*row.modalities.split(","), *(_modality(item) for item in new)]
    expected = [integer(item.header.expected_instances) for item in new]
    known = [number for number in (row.expected_instances, *expected) if number is not None]
    values: dict[str, object] = {
        "instance_count": row.instance_count + len(new),
        "first_received_at": min([row.first_received_at, *times]),
        "last_received_at": max([row.last_received_at, *times]),
        "modalities": ",".join(dict.fromkeys(filter(None, modalities))),
        "expected_instances": max(known, default=None),
        "associations": _fed_by(row.associations.split(","), new),
    }
    if not row.modality:
        values["modality"] = next(filter(None, map(_modality, new)), "")
    for name in _TEXTS:
        if not getattr(row, name):
            said = (text(getattr(item.header, name)) for item in new)
            values[name] = next(filter(None, said), "")
    return values


def _reopened(row: Row[Any], old: State, new: Sequence[Received]) -> dict[str, object]:
    """What a new instance undoes of closing, scoring and deciding."""
    times = [item.instance.received_at for item in new]
    values: dict[str, object] = {"closed_at": None, "closed_because": None, "attempts": 0, "last_error": None}
    if old not in _SAME_REVISION:
        return values | {
            "revision": row.revision + 1, "revision_started_at": min(times), "released_at": None,
            "associations": _fed_by([], new),
        }  # fmt: skip
    values["revision_started_at"] = min([row.revision_started_at, *times])
    if row.released_at is not None and max(times) > row.released_at:
        values["released_at"] = None
    return values


def _fed_by(known: Sequence[str], new: Sequence[Received]) -> str:
    every = dict.fromkeys(filter(None, [*known, *(item.association for item in new)]))
    return ",".join(list(every)[:_ASSOCIATIONS])


def _first_row(uid: str, item: Received, now: datetime) -> dict[str, object]:
    at = item.instance.received_at
    header = item.header
    return {
        "series_instance_uid": uid,
        "study_instance_uid": text(item.instance.study_instance_uid),
        "revision": 1,
        "state": State.RECEIVING.value,
        "modality": _modality(item),
        "modalities": _modality(item),
        "series_number": integer(header.series_number),
        "expected_instances": integer(header.expected_instances),
        "calling_ae_title": text(item.instance.calling_ae_title),
        "instance_count": 0,
        "first_received_at": at,
        "last_received_at": at,
        "revision_started_at": at,
        "attempts": 0,
        "not_before": now,
    } | {name: text(getattr(header, name)) for name in _TEXTS}


def _modality(item: Received) -> str:
    return text(item.header.modality).replace(",", " ")  # a comma joins several


def _instance_row(series_id: int, revision: int, item: Received) -> dict[str, object]:
    it = item.instance
    return {
        "series_id": series_id,
        "revision": revision,
        "sop_instance_uid": it.sop_instance_uid,
        "sop_class_uid": text(it.sop_class_uid),
        "study_instance_uid": text(it.study_instance_uid),
        "transfer_syntax_uid": text(it.transfer_syntax_uid),
        "calling_ae_title": text(it.calling_ae_title),
        "path": it.path,
        "sha256": it.sha256,
        "size": it.size,
        "received_at": it.received_at,
    }


def _conflict_row(series_id: int, item: Received) -> dict[str, object]:
    it = item.instance
    return {
        "series_id": series_id,
        "sop_instance_uid": it.sop_instance_uid,
        "calling_ae_title": text(it.calling_ae_title),
        "path": it.path,
        "sha256": it.sha256,
        "received_at": it.received_at,
    }
