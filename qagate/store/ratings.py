"""What a rater should look at next, and how far the raters are. Hides what others and the model said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from qagate.assessment import SliceScore
from qagate.label import LabelKind, Scale
from qagate.series import State
from qagate.store.codec import load_assessment, load_decision
from qagate.store.engine import Store
from qagate.store.schema import label, result, series, shadow_result

LOOKED_AT = 500  #: newest series, those left out that the rater has rated, of which a queue is made
_READY = (State.DECIDED.value, State.DELIVERED.value)
_DEFAULT_THRESHOLD = 0.5  #: of series whose rule names none


class Queue(Enum):
    """By what series are put before a rater."""

    UNCERTAIN = "uncertain"  #: nearest to the threshold: there a rating tells the model most
    DISAGREED = "disagreed"  #: raters, radiographers, champion and challenger are not of one mind
    RANDOM = "random"  #: a control sample, in the same order for every rater


class Subject(Enum):
    """What a rating speaks of."""

    SERIES = "series"
    SLICE = "slice"  #: one of the slices that the model saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to rate."""

    series_instance_uid: str
    sop_instance_uid: str | None  #: None: the whole series
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the raters are."""

    mine: int  #: ratings of this rater that count
    today: int  #: of them, given since midnight of the site
    everyone: int  #: ratings of all raters that count
    shared: int  #: series or slices that two raters or more have rated
    raters: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    series_id: int
    uid: str
    revision: int
    quality: float | None


class RatingQueues:
    """The queues of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tasks(
        self, rater: str, queue: Queue, subject: Subject, *, limit: int = 20, skip: Collection[str] = ()
    ) -> tuple[Task, ...]:
        """The next tasks of a rater, best first; what the rater has rated is left out.

        Only the newest LOOKED_AT series are looked at. skip: UIDs of series or instances to leave out.
        """
        with self._store.read() as connection:
            found = _candidates(connection, rater, subject)
            chosen = [one for one in _ordered(connection, found, queue) if one.uid not in skip]
            if subject is Subject.SERIES:
                return tuple(
                    Task(series_instance_uid=one.uid, sop_instance_uid=None, revision=one.revision)
                    for one in chosen[:limit]
                )
            return tuple(_slices(connection, chosen, rater, queue, limit, skip))

    def progress(self, rater: str, midnight: datetime) -> Progress:
        """Counts over every rating that was not replaced by a later one of its rater."""
        place = sa.func.coalesce(label.c.sop_instance_uid, "")
        each = (
            sa.select(
                label.c.series_id,
                place.label("sop"),
                label.c.rater,
                sa.func.max(label.c.created_at, type_=label.c.created_at.type).label("last"),
            )
            .where(label.c.kind == LabelKind.RATING.value)
            .group_by(label.c.series_id, place, label.c.rater)
            .subquery()
        )
        own = each.c.rater == rater
        counts = sa.select(
            sa.func.count().label("everyone"),
            sa.func.coalesce(sa.func.sum(sa.case((own, 1), else_=0)), 0).label("mine"),
            sa.func.coalesce(
                sa.func.sum(sa.case((sa.and_(own, each.c.last >= midnight), 1), else_=0)), 0
            ).label("today"),
            sa.func.count(sa.distinct(each.c.rater)).label("raters"),
        ).select_from(each)
        twice = (
            sa.select(each.c.series_id)
            .group_by(each.c.series_id, each.c.sop)
            .having(sa.func.count() > 1)
            .subquery()
        )
        with self._store.read() as connection:
            row = connection.execute(counts).one()
            shared = connection.scalar(sa.select(sa.func.count()).select_from(twice)) or 0
        return Progress(
            mine=int(row.mine),
            today=int(row.today),
            everyone=row.everyone,
            shared=shared,
            raters=row.raters,
        )


def _candidates(connection: sa.Connection, rater: str, subject: Subject) -> list[_Candidate]:
    query = sa.select(
        *(series.c[name] for name in ("id", "series_instance_uid", "revision", "quality")),
        *(series.c[name] for name in ("state", "judged_revision")),
    )
    if subject is Subject.SERIES:
        rated = sa.exists().where(
            label.c.series_id == series.c.id,
            label.c.rater == rater,
            label.c.kind == LabelKind.RATING.value,
            label.c.sop_instance_uid.is_(None),
            label.c.revision == series.c.revision,
        )
        query = query.where(~rated)
    # One index gives the newest; with the state among the conditions SQLite would sort all series instead.
    newest = query.order_by(series.c.last_received_at.desc(), series.c.id.desc()).limit(LOOKED_AT)
    return [
        _Candidate(row.id, row.series_instance_uid, row.revision, row.quality)
        for row in connection.execute(newest)
        if row.state in _READY and row.judged_revision == row.revision and row.quality is not None
    ]


def _ordered(connection: sa.Connection, found: Sequence[_Candidate], queue: Queue) -> list[_Candidate]:
    if queue is Queue.RANDOM:
        return sorted(found, key=lambda one: _drawn(one.uid))
    if queue is Queue.UNCERTAIN:
        thresholds = _thresholds(connection, [one.series_id for one in found])
        return sorted(found, key=lambda one: _doubt(one.quality, thresholds.get(one.series_id)))
    spread = _disagreement(connection, found)
    return sorted((one for one in found if spread[one.series_id] > 0), key=lambda one: -spread[one.series_id])


def _drawn(uid: str) -> bytes:
    """A place in the random order, the same for every rater and every time."""
    return hashlib.sha256(f"control {uid}".encode()).digest()


def _doubt(quality: float | None, threshold: float | None) -> float:
    return abs((quality or 0.0) - (_DEFAULT_THRESHOLD if threshold is None else threshold))


def _thresholds(connection: sa.Connection, ids: Sequence[int]) -> dict[int, float | None]:
    query = sa.select(result.c.series_id, result.c.decision).join(
        series, sa.and_(series.c.id == result.c.series_id, series.c.revision == result.c.revision)
    )
    rows = connection.execute(query.where(result.c.series_id.in_(ids)))
    return {row.series_id: load_decision(row.decision).review_below for row in rows}


def _disagreement(connection: sa.Connection, found: Sequence[_Candidate]) -> dict[int, float]:
    """Series -> how far minds differ, 0 to 2, in units of quality; somebody's Disagree counts as 1."""
    spread = {one.series_id: 0.0 for one in found}
    quality = {one.series_id: one.quality for one in found}
    said: dict[tuple[int, str], list[float]] = {}
    query = sa.select(label).where(label.c.series_id.in_(list(spread))).order_by(label.c.id)
    for row in connection.execute(query):
        if row.kind == LabelKind.DISAGREE.value:
            spread[row.series_id] = 1.0
        elif row.kind == LabelKind.RATING.value:
            of = said.setdefault((row.series_id, row.sop_instance_uid or ""), [])
            of.append(Scale(row.scale_low, row.scale_high).quality(row.score))
    for (series_id, _), of in said.items():
        spread[series_id] = max(spread[series_id], max(of) - min(of))
    other = sa.select(shadow_result.c.series_id, shadow_result.c.quality).where(
        shadow_result.c.series_id.in_(list(spread)), shadow_result.c.quality.is_not(None)
    )
    for row in connection.execute(other):
        spread[row.series_id] += abs(row.quality - (quality[row.series_id] or 0.0))
    return spread


def _slices(
    connection: sa.Connection,
    chosen: Sequence[_Candidate],
    rater: str,
    queue: Queue,
    limit: int,
    skip: Collection[str],
) -> list[Task]:
    """One slice a series, those first of which the rater has seen least: not one patient all day."""
    rated = _rated_slices(connection, rater, [one.series_id for one in chosen])
    seen = Counter(series_id for series_id, *_ in rated)
    chosen = sorted(chosen, key=lambda one: seen[one.series_id])
    tasks: list[Task] = []
    for one in chosen:
        if len(tasks) >= limit:
            break
        row = connection.execute(
            sa.select(result.c.assessment, result.c.decision).where(
                result.c.series_id == one.series_id, result.c.revision == one.revision
            )
        ).one_or_none()
        if row is None:
            continue
        threshold = load_decision(row.decision).review_below
        left = [
            slice_score
            for slice_score in load_assessment(row.assessment).slices
            if slice_score.frame_number is None  # a label names an instance, not a frame
            and (one.series_id, one.revision, slice_score.sop_instance_uid) not in rated
            and slice_score.sop_instance_uid not in skip
        ]
        if left:
            best = min(left, key=lambda slice_score: _order(slice_score, queue, threshold))
            tasks.append(
                Task(
                    series_instance_uid=one.uid,
                    sop_instance_uid=best.sop_instance_uid,
                    revision=one.revision,
                )
            )
    return tasks


def _order(of: SliceScore, queue: Queue, threshold: float | None) -> tuple[float, bytes]:
    if queue is Queue.RANDOM:
        return 0.0, _drawn(of.sop_instance_uid)
    if of.uncertainty is not None:
        return -of.uncertainty, b""
    return _doubt(of.quality, threshold), b""


def _rated_slices(connection: sa.Connection, rater: str, ids: Sequence[int]) -> set[tuple[Any, ...]]:
    query = sa.select(label.c.series_id, label.c.revision, label.c.sop_instance_uid).where(
        label.c.series_id.in_(ids),
        label.c.rater == rater,
        label.c.kind == LabelKind.RATING.value,
        label.c.sop_instance_uid.is_not(None),
    )
    return {tuple(row) for row in connection.execute(query)}
