"""One row a series of what trends and previews need: written with its decision, read here and by `trends`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Artefact, Assessment, Baseline, Decision, Finding, Prompt
from qagate.series import Series, SeriesHeader
from qagate.store.rows import text
from qagate.store.schema import observation, series

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one series, enough to decide it again."""

    series_instance_uid: str
    decided_at: datetime
    verdict: str  #: as it was decided
    header: SeriesHeader  #: modality, station and protocol
    assessment: Assessment  #: prompt, quality, measures and findings; no slices, no texts
    baseline: Baseline | None  #: that was usual then


def observations(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], newest: int | None = None
) -> Iterator[Observation]:
    """Those that fulfil conditions on `observation`, newest first; `newest`: no more than that many."""
    query = (
        sa.select(observation, series.c.series_instance_uid, series.c.station_name)
        .join(series, series.c.id == observation.c.series_id)
        .where(*conditions)
        .order_by(observation.c.decided_at.desc(), observation.c.series_id.desc())
        .limit(newest)
    )
    for row in connection.execute(query).yield_per(_PAGE):
        yield _observation(row)


def _observation(row: sa.Row[Any]) -> Observation:
    baseline = None
    if row.baseline_median is not None:
        baseline = Baseline(median=row.baseline_median, mad=row.baseline_mad, count=row.baseline_count)
    return Observation(
        series_instance_uid=row.series_instance_uid,
        decided_at=row.decided_at,
        verdict=row.verdict,
        header=SeriesHeader(
            modality=row.modality, station_name=row.station_name, protocol_name=row.protocol_name
        ),
        assessment=Assessment(
            prompt=Prompt(dimension="", modality=row.modality, region=row.region, type=row.type),
            quality=row.quality,
            score=None,
            measures=row.figures,
            findings=tuple(
                Finding(artefact=Artefact(artefact), severity=severity, text="")
                for artefact, severity in row.findings
            ),
        ),
        baseline=baseline,
    )


def observe(
    connection: sa.Connection, series: Series, assessment: Assessment, decision: Decision, now: datetime
) -> None:
    """Put a decided revision in the place of the series' former one, inside the caller's transaction."""
    connection.execute(sa.delete(observation).where(observation.c.series_id == series.series_id))
    connection.execute(sa.insert(observation).values(observed(series, assessment, decision, now)))


def observed(series: Series, assessment: Assessment, decision: Decision, now: datetime) -> dict[str, Any]:
    """The row of one decided revision."""
    technique, usual, header = assessment.technique, decision.baseline, series.header
    return {
        "series_id": series.series_id,
        "decided_at": now,
        "station": text(header.station_name or series.calling_ae_title),
        "protocol_name": text(header.protocol_name),
        "modality": text(header.modality),
        "region": text(assessment.prompt.region),
        "type": text(assessment.prompt.type),
        "coil": text(str(technique.get("coil", ""))),
        "kernel": text(str(technique.get("kernel", ""))),
        "weights_sha256": assessment.weights_sha256,
        "verdict": decision.verdict.value,
        "quality": None if assessment.quality is None else float(assessment.quality),
        "figures": _finite(assessment.measures) | _finite(technique),
        "findings": [[one.artefact.value, float(one.severity)] for one in assessment.findings],
        "baseline_median": usual.median if usual else None,
        "baseline_mad": usual.mad if usual else None,
        "baseline_count": usual.count if usual else None,
    }


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers; JSON in a database has no NaN."""
    numbers = {name: float(value) for name, value in values.items() if not isinstance(value, str)}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
