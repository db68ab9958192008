"""What the demo shows and checks: pure functions from the scene and what gate and archive hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from train.demo.scene import Expected, Scene

#: states in which the gate has said what it has to say
_FINAL = frozenset({"DELIVERED", "FAILED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series as the demo's table shows it."""

    name: str
    state: str = "to be sent"  #: a qagate.series.State, or what the scanner does
    verdict: str = ""  #: PASS, REVIEW, REPEAT or NOT_ASSESSED; "" before the decision
    quality: float | None = None  #: 0 to 1
    reason: str = ""  #: the weightiest
    seconds: float | None = None  #: from last slice to decision, quiet time included

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _FINAL


def reported_series(documents: Iterable[Dataset]) -> dict[str, Dataset]:
    """Series Instance UID of the evidence (0040,A375) -> the newest SR that reports on it."""
    found: dict[str, Dataset] = {}
    for document in sorted(documents, key=lambda dataset: str(dataset.get("ContentTime", ""))):
        if document.get("Modality") != "SR":
            continue
        for study in document.get("CurrentRequestedProcedureEvidenceSequence", []):
            for series in study.ReferencedSeriesSequence:
                found[str(series.SeriesInstanceUID)] = document
    return found


def failures(
    scene: Scene,
    rows: Mapping[str, Row],
    reports: Mapping[str, Dataset],
    *,
    refused: bool,
    refusals: Sequence[str],
) -> list[str]:
    """What went otherwise than the demo promises; one plain sentence each.

    rows: by Series Instance UID; refused: the scanner got an error for the broken object; refusals: the
    SOP Instance UIDs of refused objects that the gate's status names.
    """
    found = []
    for series in scene.series:
        row = rows[series.series_instance_uid]
        got = row.verdict or f"no verdict ({row.state})"
        if not _as_expected(series.expected, row.verdict):
            found.append(f"{series.name}: {got}, expected {series.expected.value}")
        if series.series_instance_uid not in reports:
            found.append(f"{series.name}: no SR reached the archive")
    if not refused:
        found.append("broken object: the gate accepted it")
    if scene.broken_sop_instance_uid not in refusals:
        found.append("broken object: the gate's status does not name it")
    return found


def _as_expected(expected: Expected, verdict: str) -> bool:
    if expected is Expected.NOT_PASS:
        return verdict in ("REVIEW", "REPEAT")
    return verdict == str(expected.value)


def telling(reasons: Sequence[str]) -> str:
    """The reason that explains most: the first that does more than repeat the quality."""
    return next((text for text in reasons if not text.startswith("quality ")), "")


def short_alert(line: str) -> str:
    """Headline and cause of an alert as the gate's console shows it, parts between bars."""
    headline, *facts = line.split(" | ")
    return " | ".join([headline.split("  ", 1)[-1], *(fact for fact in facts if fact.startswith("Why:"))])


def worst(rows: Mapping[str, Row]) -> str | None:
    """Series Instance UID of the lowest quality; None when none was scored."""
    scored = {uid: row.quality for uid, row in rows.items() if row.quality is not None}
    return min(scored, key=lambda uid: scored[uid]) if scored else None
