"""One series as the worklist and the console show it, with what people said of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Verdict
from qagate.label import LabelKind
from qagate.series import State
from qagate.store.codec import load_decision
from qagate.store.holds import Standing, standings
from qagate.store.notices import stuck
from qagate.store.schema import acknowledged, label, outbox, result, series


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one person clicked."""

    actor: str  #: user name
    kind: LabelKind | None  #: None: acknowledged
    revision: int  #: of the series it speaks of
    reason: str
    at: datetime  #: UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSeries:
    """One series; verdict, quality, region and reasons are of its last decision."""

    series_id: int
    series_instance_uid: str
    study_instance_uid: str
    revision: int  #: the present one
    state: State
    modality: str
    body_part_examined: str
    station_name: str
    protocol_name: str
    series_description: str
    series_number: int | None
    calling_ae_title: str
    instance_count: int
    expected_instances: int | None
    last_received_at: datetime  #: UTC
    closed_at: datetime | None
    last_error: str | None  #: of scoring, else of a delivery
    undelivered: int  #: deliveries that failed or wait for too long
    region: str = ""
    verdict: Verdict | None = None  #: None: no revision was decided
    quality: float | None = None  #: 0 to 1
    judged_revision: int | None = None  #: the revision the verdict speaks of
    decided_at: datetime | None = None
    reasons: tuple[str, ...] = ()  #: the weightiest first
    said: tuple[Said, ...] = ()  #: every click, oldest first
    held_since: datetime | None = None  #: UTC; the archives have nothing of it; None: it is not held
    rejected: bool = False  #: a person rejected it, or an earlier revision of it

    @property
    def provisional(self) -> bool:
        """Whether instances came after the verdict, so that another will follow."""
        return self.verdict is not None and self.judged_revision != self.revision

    @property
    def answered(self) -> bool:
        """Whether anybody answered or acknowledged the verdict that stands."""
        return any(one.revision == self.judged_revision for one in self.said)

    @property
    def problem(self) -> bool:
        """Whether it failed or something of it was not delivered."""
        return self.state is State.FAILED or self.undelivered > 0


_SAME = (
    *("series_instance_uid", "study_instance_uid", "revision", "modality", "body_part_examined"),
    *("station_name", "protocol_name", "series_description", "series_number", "calling_ae_title"),
    *("instance_count", "expected_instances", "last_received_at", "closed_at", "region", "quality"),
    *("judged_revision", "decided_at"),
)


def desk_series(connection: sa.Connection, ids: Sequence[int], now: datetime) -> tuple[DeskSeries, ...]:
    """The series of these ids, in their order; those deleted meanwhile are left out."""
    last = sa.and_(result.c.series_id == series.c.id, result.c.revision == series.c.judged_revision)
    query = sa.select(series, result.c.decision).outerjoin(result, last).where(series.c.id.in_(ids))
    rows = {row.id: row for row in connection.execute(query)}
    unsent = sa.select(outbox.c.series_id, outbox.c.last_error).where(outbox.c.series_id.in_(ids), stuck(now))
    errors: dict[int, list[str | None]] = defaultdict(list)
    for row in connection.execute(unsent.order_by(outbox.c.id)):
        errors[row.series_id].append(row.last_error)
    said, stands = _said(connection, ids), standings(connection, ids)
    return tuple(
        _series(rows[key], errors[key], said[key], stands.get(key, Standing())) for key in ids if key in rows
    )


def _series(
    row: sa.Row[Any], errors: Sequence[str | None], said: Sequence[Said], stands: Standing
) -> DeskSeries:
    return DeskSeries(
        series_id=row.id,
        state=State(row.state),
        verdict=Verdict(row.verdict) if row.verdict else None,
        reasons=load_decision(row.decision).reasons if row.decision else (),
        last_error=row.last_error or next(filter(None, errors), None),
        undelivered=len(errors),
        said=tuple(said),
        held_since=stands.held_since,
        rejected=stands.rejected,
        **{name: getattr(row, name) for name in _SAME},
    )


def _said(connection: sa.Connection, ids: Sequence[int]) -> dict[int, list[Said]]:
    """Clicks on whole series and acknowledgements, by time."""
    clicks = sa.select(
        label.c.series_id, label.c.rater, label.c.kind, label.c.revision, label.c.reason, label.c.created_at
    ).where(
        label.c.series_id.in_(ids),
        label.c.kind != LabelKind.RATING.value,
        label.c.sop_instance_uid.is_(None),
    )
    seen = sa.select(acknowledged).where(acknowledged.c.series_id.in_(ids))
    found = [
        (
            row.series_id,
            Said(
                actor=row.rater,
                kind=LabelKind(row.kind),
                revision=row.revision,
                reason=row.reason,
                at=row.created_at,
            ),
        )
        for row in connection.execute(clicks.order_by(label.c.id))
    ] + [
        (row.series_id, Said(actor=row.actor, kind=None, revision=row.revision, reason="", at=row.at))
        for row in connection.execute(seen.order_by(acknowledged.c.id))
    ]
    by_series: dict[int, list[Said]] = defaultdict(list)
    for key, one in sorted(found, key=lambda pair: pair[1].at):
        by_series[key].append(one)
    return by_series
