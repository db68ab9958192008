"""Objects that people rated become samples: one scale, one opinion each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from qagate.assessment import Artefact
from qagate.gate.agreement import table
from qagate.label import Label, LabelKind
from train.labels.opinion import Opinions, Ratings, Scoring, opinions, screen
from train.labels.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """A series, or one image of it, with the labels that count: one a rater."""

    series_instance_uid: str
    sop_instance_uid: str | None  #: None: the whole series
    paths: tuple[Path, ...]
    modality: str
    station: str
    study: str
    labels: tuple[Label, ...]

    @property
    def name(self) -> str:
        """The UID of what was rated."""
        return self.sop_instance_uid or self.series_instance_uid


def samples(rated: Sequence[Rated], scoring: Scoring) -> tuple[list[Sample], list[str], list[str]]:
    """Samples of what has ratings; also a problem for each that gives none, and notes on the raters."""
    rated = [one for one in rated if _ratings(one)]
    if not rated:
        return [], [], []
    ratings, raters, scale, notes = table([one.labels for one in rated])
    opinion = opinions(ratings, scoring)
    notes += _on_raters(ratings, raters, opinion, scoring)
    found: list[Sample] = []
    problems: list[str] = []
    for number, one in enumerate(rated):
        if not opinion.raters[number]:
            problems.append(f"{one.name}: every rater of it was left out")
            continue
        patient, why = patient_of(one.paths[0])
        if why:
            problems.append(f"{one.name}: {why}")
            continue
        deviation = float(opinion.deviation[number])
        found.append(
            Sample(
                name=one.name,
                paths=one.paths,
                modality=one.modality,
                mos=float(opinion.mos[number]),
                scale=scale,
                group=one.series_instance_uid,
                patient=patient,
                study=one.study,
                station=one.station,
                raters=int(opinion.raters[number]),
                deviation=None if np.isnan(deviation) else deviation,
                artefacts=_artefacts(one, {raters[rater] for rater in np.flatnonzero(opinion.kept)}),
                labels=one.labels,
            )
        )
    return found, problems, notes


def patient_of(path: Path) -> tuple[str, str]:
    """What stands for the patient of a DICOM file, "" where the file names none; or why it is unreadable.

    A digest of (0010,0020) *Patient ID* and (0010,0021) its issuer: equal for one patient, the same in every
    run, and not to be shown outside the run folder, because short identifiers can be guessed from it.
    """
    try:
        found = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "IssuerOfPatientID"])
        told = [str(found.get(keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID")]
    except (InvalidDicomError, OSError, ValueError, AttributeError, KeyError) as error:
        return "", f"{path} cannot be read: {error}"
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16] if told[0] else "", ""


def _ratings(one: Rated) -> bool:
    return any(label.kind is LabelKind.RATING for label in one.labels)


def _artefacts(one: Rated, kept: set[str]) -> tuple[Artefact, ...]:
    """What half of the raters or more named."""
    of = [label for label in one.labels if label.kind is LabelKind.RATING and label.rater in kept]
    return tuple(
        artefact for artefact in Artefact if 2 * sum(artefact in one.artefacts for one in of) >= len(of) > 0
    )


def _on_raters(ratings: Ratings, raters: list[str], opinion: Opinions, scoring: Scoring) -> list[str]:
    notes = []
    rejected = screen(ratings).rejected if scoring.reject else np.zeros(len(raters), bool)
    for number, rater in enumerate(raters):
        if rejected[number]:
            notes.append(f"{rater} was left out: erratic, by BT.500's screening of observers")
        elif not opinion.kept[number]:
            notes.append(f"{rater} was left out: gave every image one score, which has no z-score")
    return notes
