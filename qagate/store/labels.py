"""What people said of series. Labels are only ever added: a later one stands in place of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Artefact
from qagate.label import Label, LabelKind, Scale
from qagate.series import Instance
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.rows import instances_at
from qagate.store.schema import instance, label, result, series

_PAGE = 1000  #: labels read in one transaction
_BATCH = 500  #: parameters in one IN list
_NAMED = 20  #: unknown UIDs named in a message


class UnknownObject(StoreError):
    """A label speaks of a series or an instance that was never received; nothing was recorded."""

    def __init__(self, message: str, uids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.uids = uids  #: every one, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLabel:
    """A label with what the store knows of its series; `label` has revision and time."""

    label_id: int  #: the store's key, rising with every label recorded
    label: Label
    study_instance_uid: str
    modality: str
    station_name: str
    manufacturer_model_name: str
    verdict: str | None  #: of the gate, for the revision the label speaks of; None: not decided
    quality: float | None  #: likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What became of the labels of one `add`."""

    added: int
    known: int  #: said before, word for word, and not recorded again


class Labels:
    """The labels of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, labels: Iterable[Label], *, dry_run: bool = False) -> Added:
        """Record labels in one transaction, all or none; `dry_run` only tells what it would do.

        A label without a revision speaks of the series' present one, one without a time of now. One that
        repeats what its rater said last, or at the same time, is passed over: a file may be imported twice.
        Raises UnknownObject, StoreError for a revision that does not exist yet.
        """
        wanted = list(labels)
        with self._store.read() if dry_run else self._store.write() as connection:
            found = _series(connection, {one.series_instance_uid for one in wanted})
            _all_known(connection, wanted, found)
            said = _said(connection, [row.id for row in found.values()])
            rows = []
            for one in wanted:
                row = found[one.series_instance_uid]
                whole = _completed(one, row, self._store.now())
                key = (row.id, whole.sop_instance_uid, whole.rater, whole.kind.question)
                before = said.setdefault(key, [])
                if _repeats(one, whole, before):
                    continue
                before.append(whole)
                rows.append(_row(row.id, whole))
            if rows and not dry_run:
                connection.execute(sa.insert(label), rows)
        return Added(added=len(rows), known=len(wanted) - len(rows))

    def of_series(self, series_instance_uid: str) -> tuple[StoredLabel, ...]:
        """Every label of a series, in the order they were recorded; empty for an unknown series."""
        with self._store.read() as connection:
            query = _stored().where(series.c.series_instance_uid == series_instance_uid)
            return tuple(_stored_label(row) for row in connection.execute(query))

    def all(self, *, since_id: int = 0) -> Iterator[StoredLabel]:
        """Every label in the order they were recorded; with `since_id`, those after that one."""
        return self._pages(_stored(), since_id)

    def latest(self, kind: LabelKind | None = None) -> Iterator[StoredLabel]:
        """The last answer of each rater to each question on each series or instance.

        Last by the time it was given, whatever the revision; older answers stand in `all`. `kind`: only
        those last answers that are of it.
        """
        question = sa.case(
            *((label.c.kind == kind.value, kind.question) for kind in LabelKind), else_=label.c.kind
        )
        place = sa.func.row_number().over(
            partition_by=(label.c.series_id, label.c.sop_instance_uid, label.c.rater, question),
            order_by=(label.c.created_at.desc(), label.c.id.desc()),
        )
        ranked = sa.select(label.c.id, place.label("place")).subquery()
        last = sa.select(ranked.c.id).where(ranked.c.place == 1)
        wanted = _stored().where(label.c.id.in_(last))
        return self._pages(wanted if kind is None else wanted.where(label.c.kind == kind.value), 0)

    def instances(self, series_instance_uid: str, revision: int) -> tuple[Instance, ...]:
        """What a series held at a revision, in order of receipt; empty for an unknown one."""
        with self._store.read() as connection:
            found = _series(connection, {series_instance_uid}).get(series_instance_uid)
            if found is None:
                return ()
            return instances_at(connection, found.id, series_instance_uid, revision)

    def _pages(self, query: sa.Select[Any], after: int) -> Iterator[StoredLabel]:
        """Page by page, so that no transaction stays open while the caller works."""
        while True:
            with self._store.read() as connection:
                rows = connection.execute(query.where(label.c.id > after).limit(_PAGE)).all()
            if not rows:
                return
            yield from map(_stored_label, rows)
            after = rows[-1].id


def _stored() -> sa.Select[Any]:
    return (
        sa.select(
            label,
            series.c.series_instance_uid,
            series.c.study_instance_uid,
            series.c.modality,
            series.c.station_name,
            series.c.manufacturer_model_name,
            result.c.verdict,
            result.c.quality,
        )
        .join(series, series.c.id == label.c.series_id)
        .outerjoin(
            result, sa.and_(result.c.series_id == label.c.series_id, result.c.revision == label.c.revision)
        )
        .order_by(label.c.id)
    )


def _stored_label(row: sa.Row[Any]) -> StoredLabel:
    return StoredLabel(
        label_id=row.id,
        label=_label(row, row.series_instance_uid),
        study_instance_uid=row.study_instance_uid,
        modality=row.modality,
        station_name=row.station_name,
        manufacturer_model_name=row.manufacturer_model_name,
        verdict=row.verdict,
        quality=row.quality,
    )


def _label(row: sa.Row[Any], series_instance_uid: str) -> Label:
    return Label(
        series_instance_uid=series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
        revision=row.revision,
        rater=row.rater,
        kind=LabelKind(row.kind),
        score=row.score,
        scale=None if row.score is None else Scale(row.scale_low, row.scale_high),
        artefacts=tuple(Artefact(value) for value in json.loads(row.artefacts)),
        reason=row.reason,
        created_at=row.created_at,
    )


def _row(series_id: int, of: Label) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "revision": of.revision,
        "sop_instance_uid": of.sop_instance_uid,
        "rater": of.rater,
        "kind": of.kind.value,
        "score": of.score,
        "scale_low": of.scale.low if of.scale else None,
        "scale_high": of.scale.high if of.scale else None,
        "artefacts": json.dumps([artefact.value for artefact in of.artefacts]),
        "reason": of.reason,
        "created_at": of.created_at,
    }


def _completed(one: Label, row: sa.Row[Any], now: datetime) -> Label:
    revision = row.revision if one.revision is None else one.revision
    if revision > row.revision:
        raise StoreError(
            f"a label speaks of revision {revision} of series {one.series_instance_uid}, which has only "
            f"{row.revision}: correct the revision, or leave it out for the present one"
        )
    return replace(one, revision=revision, created_at=(one.created_at or now).astimezone(UTC))


def _repeats(one: Label, whole: Label, before: Sequence[Label]) -> bool:
    """Whether the same was said at the same time, or for a label without a time, said last."""
    if one.created_at is not None or not before:
        return whole in before
    # max() keeps the first of equals; the one recorded later is the last.
    last = max(reversed(before), key=lambda other: other.created_at or datetime.min.replace(tzinfo=UTC))
    return replace(one, revision=one.revision or last.revision, created_at=last.created_at) == last


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(values)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _series(connection: sa.Connection, uids: set[str]) -> dict[str, sa.Row[Any]]:
    query: sa.Select[Any] = sa.select(series.c.id, series.c.revision, series.c.series_instance_uid)
    return {
        row.series_instance_uid: row
        for batch in _batches(sorted(uids))
        for row in connection.execute(query.where(series.c.series_instance_uid.in_(batch)))
    }


def _all_known(connection: sa.Connection, wanted: Sequence[Label], found: dict[str, sa.Row[Any]]) -> None:
    missing = sorted({one.series_instance_uid for one in wanted} - found.keys())
    if missing:
        raise UnknownObject(f"series never received: {_names(missing)}", tuple(missing))
    named = {(found[one.series_instance_uid].id, one.sop_instance_uid) for one in wanted}
    single = {pair for pair in named if pair[1] is not None}
    query = sa.select(instance.c.series_id, instance.c.sop_instance_uid)
    there = {
        (row.series_id, row.sop_instance_uid)
        for batch in _batches(sorted({uid for _, uid in single if uid}))
        for row in connection.execute(query.where(instance.c.sop_instance_uid.in_(batch)))
    }
    strange = sorted({uid for pair in single - there if (uid := pair[1])})
    if strange:
        raise UnknownObject(f"instances not of the series named with them: {_names(strange)}", tuple(strange))


def _names(uids: Sequence[str]) -> str:
    more = f" and {len(uids) - _NAMED} more" if len(uids) > _NAMED else ""
    return ", ".join(uids[:_NAMED]) + more


_Object = tuple[int, str | None, str, str]  # series, instance, rater, question


def _said(connection: sa.Connection, series_ids: Sequence[int]) -> dict[_Object, list[Label]]:
    """What was said so far of these series, oldest record first."""
    query = sa.select(label, series.c.series_instance_uid).join(series, series.c.id == label.c.series_id)
    said: dict[_Object, list[Label]] = {}
    for batch in _batches(series_ids):
        for row in connection.execute(query.where(label.c.series_id.in_(batch)).order_by(label.c.id)):
            one = _label(row, row.series_instance_uid)
            said.setdefault((row.series_id, row.sop_instance_uid, row.rater, one.kind.question), []).append(
                one
            )
    return said
