"""What the challenger says of live series, apart from every result, report and alert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Assessment, Decision
from qagate.series import Series
from qagate.store.baselines import BaselineChange, apply
from qagate.store.codec import dumps
from qagate.store.engine import Store
from qagate.store.rows import insert_new, text
from qagate.store.schema import result, series, shadow_result

_DIED = "the worker died while the challenger scored this series"
_UNDER_WAY_S = 30.0  #: a series begun so long ago and not ended is one the worker died of
_PAGE = 1000
PATIENCE = 3  #: series in a row a challenger may fail on before it is left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A series the challenger is about to score."""

    series: Series
    act_id: int  #: that made it the challenger
    weights_sha256: str
    champion_sha256: str
    region: str
    type: str
    field_strength_t: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """One series that both models judged."""

    series_instance_uid: str
    revision: int
    station: str
    modality: str
    region: str
    type: str
    field_strength_t: float | None
    champion_verdict: str
    champion_quality: float | None
    challenger_verdict: str
    challenger_quality: float | None


class Shadows:
    """The shadow results of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self, begun: Begun) -> None:
        """Note what is about to be scored: a challenger that takes the worker down is found out by that."""
        with self._store.write() as connection:
            connection.execute(
                insert_new(connection, shadow_result).values(
                    series_id=begun.series.series_id,
                    revision=begun.series.revision,
                    act_id=begun.act_id,
                    weights_sha256=begun.weights_sha256,
                    champion_sha256=begun.champion_sha256,
                    region=text(begun.region),
                    type=text(begun.type),
                    field_strength_t=begun.field_strength_t,
                    error=_DIED,
                    scored_at=self._store.now(),
                )
            )

    def finish(
        self, begun: Begun, assessment: Assessment, decision: Decision, change: BaselineChange | None = None
    ) -> None:
        """Keep what the challenger said; its own baseline warms up with it."""
        now = self._store.now()
        with self._store.write() as connection:
            connection.execute(
                sa.update(shadow_result)
                .where(*_mine(begun))
                .values(
                    verdict=decision.verdict.value,
                    quality=None if assessment.quality is None else float(assessment.quality),
                    error=None,
                    assessment=dumps(assessment),
                    decision=dumps(decision),
                    scored_at=now,
                )
            )
            if change is not None:
                apply(connection, change, now)

    def fail(self, begun: Begun, error: str) -> None:
        """Note why the challenger could not score a series."""
        with self._store.write() as connection:
            connection.execute(sa.update(shadow_result).where(*_mine(begun)).values(error=text(error)))

    def last_errors(self, act_id: int, count: int) -> tuple[str | None, ...]:
        """What went wrong with the challenger's last series, the newest first; None: nothing."""
        newest = sa.select(shadow_result.c.error).where(shadow_result.c.act_id == act_id, self._known())
        with self._store.read() as connection:
            return tuple(connection.scalars(newest.order_by(shadow_result.c.id.desc()).limit(count)))

    def counts(self, weights_sha256: str) -> tuple[int, int]:
        """How many series a challenger scored, and how many it failed on."""
        with self._store.read() as connection:
            row = connection.execute(
                sa.select(sa.func.count(), sa.func.count(shadow_result.c.error)).where(
                    shadow_result.c.weights_sha256 == weights_sha256, self._known()
                )
            ).one()
        return row[0] - row[1], row[1]

    def _known(self) -> sa.ColumnElement[bool]:
        """Leaves out what another worker may be scoring just now."""
        since = self._store.now() - timedelta(seconds=_UNDER_WAY_S)
        return sa.or_(
            shadow_result.c.error.is_(None),
            shadow_result.c.error != _DIED,
            shadow_result.c.scored_at < since,
        )

    def pairs(self, champion_sha256: str, challenger_sha256: str) -> Iterator[PairRow]:
        """Every series revision that both judged, the oldest first."""
        query: sa.Select[Any] = (
            sa.select(
                shadow_result.c.id,
                shadow_result.c.region,
                shadow_result.c.type,
                shadow_result.c.field_strength_t,
                shadow_result.c.verdict.label("challenger_verdict"),
                shadow_result.c.quality.label("challenger_quality"),
                result.c.verdict.label("champion_verdict"),
                result.c.quality.label("champion_quality"),
                result.c.revision,
                series.c.series_instance_uid,
                series.c.modality,
                series.c.station_name,
                series.c.calling_ae_title,
            )
            .join(series, series.c.id == shadow_result.c.series_id)
            .join(
                result,
                sa.and_(
                    result.c.series_id == shadow_result.c.series_id,
                    result.c.revision == shadow_result.c.revision,
                ),
            )
            .where(
                shadow_result.c.weights_sha256 == challenger_sha256,
                shadow_result.c.error.is_(None),
                result.c.weights_sha256 == champion_sha256,
            )
            .order_by(shadow_result.c.id)
            .limit(_PAGE)
        )
        after = 0
        while True:
            with self._store.read() as connection:
                rows = connection.execute(query.where(shadow_result.c.id > after)).all()
            yield from (_pair(row) for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].id


def _mine(begun: Begun) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        shadow_result.c.series_id == begun.series.series_id,
        shadow_result.c.revision == begun.series.revision,
        shadow_result.c.weights_sha256 == begun.weights_sha256,
    )


def _pair(row: sa.Row[Any]) -> PairRow:
    return PairRow(
        series_instance_uid=row.series_instance_uid,
        revision=row.revision,
        station=row.station_name or row.calling_ae_title,
        modality=row.modality,
        region=row.region,
        type=row.type,
        field_strength_t=row.field_strength_t,
        champion_verdict=row.champion_verdict,
        champion_quality=row.champion_quality,
        challenger_verdict=row.challenger_verdict,
        challenger_quality=row.challenger_quality,
    )
