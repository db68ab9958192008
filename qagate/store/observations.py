"""One row a series of what trends and previews need: written with its decision, read by `trends`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qagate.assessment import Assessment, Decision
from qagate.series import Series
from qagate.store.rows import text
from qagate.store.schema import observation


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
