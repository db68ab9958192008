"""The house's own accepted series as clean references: which ones, and which of their slices.

Patients are told apart by a keyed hash whose key is thrown away; no identifier leaves this module.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from qagate.examine import Prepared, examine, prepare
from qagate.files import SeriesFiles
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from train.references import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One series that may serve as a clean reference."""

    subject: str  #: the same for series of one patient
    modality: str
    quality: float  #: by the current model, 0 to 1
    prepared: Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was taken, and why the rest was not."""

    accepted: tuple[Accepted, ...]
    left_out: tuple[str, ...]  #: one sentence each, naming the place on disk


def drawn(series: Sequence[SeriesFiles], most: int, *, seed: int = 0) -> list[SeriesFiles]:
    """At most so many series of each modality, at random, in the order given. Raises ValueError below 1."""
    if most < 1:
        raise ValueError(f"most {most} is not 1 or more")
    by_modality: dict[str, list[int]] = {}
    for place, one in enumerate(series):
        by_modality.setdefault(one.header.modality, []).append(place)
    draw = random.Random(seed)
    taken = {
        place for places in by_modality.values() for place in draw.sample(places, min(most, len(places)))
    }
    return [one for place, one in enumerate(series) if place in taken]


def choose(series: Sequence[SeriesFiles], scorer: Scorer, policy: Policy, *, worst: float = 0.1) -> Choice:
    """The series the current model can judge, without the worst share of each modality.

    worst: 0 to 1, rounded to whole series. Raises ValueError outside.
    """
    if not 0 <= worst < 1:
        raise ValueError(f"worst {worst} is not in [0, 1)")
    key = secrets.token_bytes(16)
    judged, left_out = [], []
    for one in series:
        prepared = prepare(one.paths)
        (found,) = examine([prepared], [one.header], scorer, policy)
        assessment = found.assessment
        if assessment.quality is None:
            left_out.append(f"{one.place}: {assessment.not_assessed or 'not assessed'}")
            continue
        subject = _subject(one, key)
        judged.append(
            (
                one.place,
                Accepted(
                    subject=subject,
                    modality=assessment.prompt.modality,
                    quality=assessment.quality,
                    prepared=prepared,
                ),
            )
        )
    kept = []
    for modality in sorted({accepted.modality for _, accepted in judged}):
        mine = sorted((pair for pair in judged if pair[1].modality == modality), key=lambda p: p[1].quality)
        cut = round(worst * len(mine))
        left_out += [f"{place}: among the worst {worst:.0%} of {modality}" for place, _ in mine[:cut]]
        kept += [accepted for _, accepted in mine[cut:]]
    return Choice(accepted=tuple(kept), left_out=tuple(left_out))


def references(accepted: Iterable[Accepted], *, slices: int = 2) -> list[Reference]:
    """`slices` of each series, evenly among those that the gate would score, as simulation takes them."""
    found = []
    for number, one in enumerate(accepted):
        images = one.prepared.slices
        count = min(slices, len(images))
        places = sorted({round((step + 0.5) * len(images) / count - 0.5) for step in range(count)})
        found += [
            Reference(
                name=f"series{number}/{place}",
                subject=one.subject,
                modality=one.modality,
                pixels=images[place].pixels,
            )
            for place in places
        ]
    return found


def _subject(series: SeriesFiles, key: bytes) -> str:
    """A word for the patient; series without a PatientID are a patient each."""
    told = _patient_id(series.paths[0]) or series.series_instance_uid
    return hashlib.blake2b(told.encode(), key=key, digest_size=6).hexdigest()


def _patient_id(path: Path) -> str:
    try:
        header = pydicom.dcmread(path, specific_tags=["PatientID"], stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return ""
    return str(header.get("PatientID") or "")
