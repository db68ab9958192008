"""Every label as the CSV that `qagate labels import` and `qagate train` read (docs/labels.md)."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi.responses import Response

from qagate.label import Label, number
from qagate.store.labels import Labels
from qagate.store.retention import EXPORT_ACT, Retention
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.sheets import csv_answer

router = Router()

COLUMNS = (
    *("series_instance_uid", "sop_instance_uid", "revision", "rater", "kind", "score", "scale", "artefacts"),
    *("reason", "time"),
)


@router.get("/label/labels.csv", rule=Role.PHYSICIST)
def labels(site: Here, visitor: Visitor) -> Response:
    """Every answer of every rater, in the order they were given."""
    site.audit(visitor, act=EXPORT_ACT, up_to=Retention(site.store).last_label())
    name = f"qagate-labels-{site.clock.local(datetime.now(UTC)):%Y-%m-%d}.csv"
    return csv_answer(name, COLUMNS, (_cells(stored.label) for stored in Labels(site.store).all()))


def _cells(of: Label) -> tuple[str, ...]:
    return (
        of.series_instance_uid,
        of.sop_instance_uid or "",
        str(of.revision),
        of.rater,
        of.kind.value,
        "" if of.score is None else number(of.score),
        "" if of.scale is None else str(of.scale),
        "|".join(artefact.value for artefact in of.artefacts),
        of.reason,
        "" if of.created_at is None else of.created_at.isoformat(),
    )
