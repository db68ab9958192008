"""What people ask of the store. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Assessment, Decision
from qagate.store.codec import load_assessment, load_decision
from qagate.store.engine import Store
from qagate.store.holds import Standing, Waiting, standings, waiting
from qagate.store.rows import associations_of, series_by_state
from qagate.store.schema import conflict, outbox, refused, result, series, shadow_result
from qagate.store.transitions import DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """One series as `status` shows it; verdict and the like are of its current revision."""

    series_instance_uid: str
    modality: str
    station_name: str
    series_description: str
    calling_ae_title: str
    state: str
    revision: int
    instance_count: int
    attempts: int
    last_received_at: datetime
    closed_because: str | None
    verdict: str | None = None
    quality: float | None = None
    reasons: tuple[str, ...] = ()
    decided_at: datetime | None = None
    alerted_at: datetime | None = None
    undelivered: int = 0  #: on their way; what is held is not
    held_since: datetime | None = None  #: UTC; None: nothing of it waits for a release
    rejected: bool = False  #: by a person
    last_error: str | None = None
    purged_at: datetime | None = None  #: when retention had deleted the images; None: it did not
    associations: tuple[str, ...] = ()  #: the first that fed the present revision, as the log names them

    @property
    def seconds_to_decision(self) -> float | None:
        """From the last slice to the decision, quiet time included."""
        return (self.decided_at - self.last_received_at).total_seconds() if self.decided_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One delivery as `status` shows it."""

    series_instance_uid: str
    revision: int
    kind: str
    destination: str
    state: str
    attempts: int
    last_error: str | None
    sent_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRow:
    """One refused C-STORE, association or connection."""

    status: int
    reason: str
    sop_instance_uid: str
    calling_ae_title: str
    address: str
    refused_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRow:
    """Other bytes that came under a known SOP Instance UID."""

    sop_instance_uid: str
    path: str
    calling_ae_title: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of the gate."""

    counts: Mapping[str, int]  #: state -> number of series
    series: tuple[SeriesRow, ...]  #: newest first
    stuck: tuple[DeliveryRow, ...]  #: deliveries that failed at least once and are not sent
    refused: tuple[RefusalRow, ...]  #: newest first
    conflicts: tuple[ConflictRow, ...]  #: newest first
    held: Waiting  #: series that wait for a release


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was concluded of one revision."""

    revision: int
    decided_at: datetime
    assessment: Assessment
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHistory:
    """Everything the store knows of one series."""

    row: SeriesRow
    results: tuple[Result, ...] = ()  #: by revision
    deliveries: tuple[DeliveryRow, ...] = ()


class Views:
    """Questions to the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def overview(self, *, state: str | None = None, limit: int = 20, offset: int = 0) -> Overview:
        """Counts by state, a page of series (newest first), what is stuck, what was refused."""
        where = sa.true() if state is None else series.c.state == state.upper()
        with self._store.read() as connection:
            stuck = _deliveries().where(
                outbox.c.state != DeliveryState.SENT.value, outbox.c.last_error.is_not(None)
            )
            return Overview(
                counts=series_by_state(connection),
                series=_series_rows(connection, where, limit, offset),
                stuck=tuple(
                    DeliveryRow(**row._mapping)
                    for row in connection.execute(stuck.order_by(outbox.c.id.desc()).limit(limit))
                ),
                refused=tuple(
                    RefusalRow(**row._mapping)
                    for row in connection.execute(
                        sa.select(*(refused.c[name] for name in RefusalRow.__slots__))
                        .order_by(refused.c.refused_at.desc(), refused.c.id.desc())
                        .limit(limit)
                    )
                ),
                held=waiting(connection),
                conflicts=tuple(
                    ConflictRow(**row._mapping)
                    for row in connection.execute(
                        sa.select(*(conflict.c[name] for name in ConflictRow.__slots__))
                        .order_by(conflict.c.id.desc())
                        .limit(limit)
                    )
                ),
            )

    def ending_with(self, tail: str) -> list[str]:
        """Series Instance UIDs that end so; the exact one alone when there is one."""
        uid = series.c.series_instance_uid
        with self._store.read() as connection:
            found = list(
                connection.scalars(sa.select(uid).where(uid.endswith(tail, autoescape=True)).limit(50))
            )
        return [tail] if tail in found else found

    def resolved(self, uid: str) -> str:
        """The UID of a series named by it or by its end, as `status` shows it. Raises ValueError."""
        found = self.ending_with(uid.lstrip("…."))
        if len(found) != 1:
            many = "is not known" if not found else f"fits {len(found)} series; give more of it"
            raise ValueError(f"series {uid} {many}; `qagate status` lists the newest")
        return found[0]

    def qualities(self, weights_sha256: str) -> dict[tuple[str, int], float]:
        """(series, revision) -> quality of every one a model assessed, as champion or as challenger."""
        found: dict[tuple[str, int], float] = {}
        with self._store.read() as connection:
            for table in (shadow_result, result):
                rows = connection.execute(
                    sa.select(series.c.series_instance_uid, table.c.revision, table.c.quality)
                    .join(series, series.c.id == table.c.series_id)
                    .where(table.c.weights_sha256 == weights_sha256, table.c.quality.is_not(None))
                )
                found |= {(row.series_instance_uid, row.revision): row.quality for row in rows}
        return found

    def history(self, series_instance_uid: str) -> SeriesHistory | None:
        """One series with its decisions and deliveries; None when it is unknown."""
        where = series.c.series_instance_uid == series_instance_uid
        with self._store.read() as connection:
            rows = _series_rows(connection, where, 1)
            if not rows:
                return None
            results = connection.execute(
                sa.select(result)
                .join(series, series.c.id == result.c.series_id)
                .where(where)
                .order_by(result.c.revision)
            )
            deliveries = connection.execute(_deliveries().where(where).order_by(outbox.c.id))
            return SeriesHistory(
                row=rows[0],
                results=tuple(result_of(row) for row in results),
                deliveries=tuple(DeliveryRow(**row._mapping) for row in deliveries),
            )


def result_of(row: sa.Row[Any]) -> Result:
    """The result of a row of table `result`."""
    return Result(
        revision=row.revision,
        decided_at=row.decided_at,
        assessment=load_assessment(row.assessment),
        decision=load_decision(row.decision),
    )


def _deliveries() -> sa.Select[Any]:
    own = (name for name in DeliveryRow.__slots__ if name != "series_instance_uid")
    return sa.select(series.c.series_instance_uid, *(outbox.c[name] for name in own)).join(
        series, series.c.id == outbox.c.series_id
    )


def _series_rows(
    connection: sa.Connection, where: sa.ColumnElement[bool], limit: int, offset: int = 0
) -> tuple[SeriesRow, ...]:
    newest = (
        sa.select(
            series,
            result.c.verdict,
            result.c.quality,
            result.c.decision,
            result.c.decided_at.label("decided"),
        )
        .outerjoin(result, sa.and_(result.c.series_id == series.c.id, result.c.revision == series.c.revision))
        .where(where)
        .order_by(series.c.last_received_at.desc(), series.c.id.desc())
        .limit(limit)
        .offset(offset)
    )
    rows = connection.execute(newest).all()
    current = sa.select(outbox).join(
        series, sa.and_(series.c.id == outbox.c.series_id, series.c.revision == outbox.c.revision)
    )
    deliveries: dict[int, list[sa.Row[Any]]] = {}
    for row in connection.execute(current.where(outbox.c.series_id.in_([row.id for row in rows]))):
        deliveries.setdefault(row.series_id, []).append(row)
    stands = standings(connection, [row.id for row in rows])
    return tuple(_series_row(row, deliveries.get(row.id, []), stands.get(row.id, Standing())) for row in rows)


def _series_row(row: sa.Row[Any], deliveries: list[sa.Row[Any]], stands: Standing) -> SeriesRow:
    done = (DeliveryState.SENT.value, DeliveryState.HELD.value)
    unsent = [one for one in deliveries if one.state not in done]
    errors = [one.last_error for one in unsent if one.last_error]
    alerts = [one.sent_at for one in deliveries if one.kind == "ALERT" and not one.payload_key]
    return SeriesRow(
        series_instance_uid=row.series_instance_uid,
        modality=row.modality,
        station_name=row.station_name,
        series_description=row.series_description,
        calling_ae_title=row.calling_ae_title,
        state=row.state,
        revision=row.revision,
        instance_count=row.instance_count,
        attempts=row.attempts,
        last_received_at=row.last_received_at,
        closed_because=row.closed_because,
        verdict=row.verdict,
        quality=row.quality,
        reasons=load_decision(row.decision).reasons if row.decision else (),
        decided_at=row.decided,
        alerted_at=alerts[0] if alerts else None,
        undelivered=len(unsent),
        held_since=stands.held_since,
        rejected=stands.rejected,
        last_error=row.last_error or (errors[0] if errors else None),
        purged_at=row.purged_at,
        associations=associations_of(row.associations),
    )
