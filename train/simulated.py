"""Simulated DICOM series with consensus labels: the whole gate, and training, can be driven with them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qagate.dicom.pixels import decode
from qagate.examine import Prepared, read
from qagate.files import SeriesFiles
from train.consensus import TEACHERS, consensus, teach
from train.copies import write_copy
from train.simulate import SEEN_AS, SIMULATORS

LABELS = "labels.csv"
RATER = "consensus"
SCALE = (0.0, 4.0)
_COLUMNS = ("path", "series_instance_uid", "rater", "score", "artefacts", "reason")


class SimulationError(ValueError):
    """Nothing can be simulated; the message names what and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSeries:
    """One series that was written."""

    folder: str  #: relative to the output folder
    series_instance_uid: str
    artefact: str  #: a key of SIMULATORS, or "none"
    severity: float
    score: float  #: 0 to 4, mean rank of the teachers over everything written of this modality


def write_simulated(
    series: Sequence[SeriesFiles],
    out: Path,
    *,
    artefacts: Sequence[str] = (),
    severities: Sequence[float] = (1.0, 3.0, 5.0),
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[SimulatedSeries]:
    """Write a clean copy of each series and one for each artefact and severity, and labels.csv beside them.

    artefacts: keys of SIMULATORS; none means all of the series' modality. The label is the consensus of four
    full-reference metrics over the scored slices, against the clean copy, scaled to 0 (worst) to 4 (best).
    Raises SimulationError for a series the gate would not score, for an artefact that exists for no modality
    and for a folder that is not empty.
    """
    known = {name for of_modality in SIMULATORS.values() for name in of_modality}
    if unknown := sorted(set(artefacts) - known):
        raise SimulationError(f"no artefact {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if out.exists() and any(out.iterdir()):
        raise SimulationError(f"{out} is not empty; name a new folder")
    rows: list[tuple[str, str, str, float, str, list[float]]] = []
    for number, one in enumerate(series, start=1):
        prepared = read(one.paths)
        modality = prepared.prompt.modality
        if prepared.not_assessed or modality not in SIMULATORS:
            why = prepared.not_assessed or f"modality {modality}"
            raise SimulationError(f"{one.place} cannot be degraded: {why}")
        wanted = [name for name in SIMULATORS[modality] if not artefacts or name in artefacts]
        steps = [("none", 0.0), *((name, severity) for name in wanted for severity in severities)]
        for artefact, severity in steps:
            folder = f"{number:03d}-{artefact}" + (f"-{severity:g}" if severity else "")
            progress(folder)
            told = {artefact: severity} if severity else {}
            uid = write_copy(one.paths, out / folder, told, seed=seed + number)
            copy = read(sorted((out / folder).glob("*.dcm")))
            rows.append((folder, uid, artefact, severity, modality, _similarity(prepared, copy, modality)))
    found = _labelled(rows)
    _write_labels(out / LABELS, found)
    return found


def _similarity(clean: Prepared, copy: Prepared, modality: str) -> list[float]:
    """The teachers' means over the slices scored of the clean series, matched by their place."""
    assert copy.stack is not None and clean.stack is not None
    places = {id(header): place for place, header in enumerate(clean.stack.slices)}
    pairs = [
        (image.pixels, decode(copy.stack.slices[places[id(image.header)]]).pixels) for image in clean.slices
    ]
    taught = [teach(before, after, modality) for before, after in pairs]
    return [float(np.mean([one[teacher] for one in taught])) for teacher in TEACHERS]


def _labelled(rows: list[tuple[str, str, str, float, str, list[float]]]) -> list[SimulatedSeries]:
    found: dict[int, SimulatedSeries] = {}
    low, high = SCALE
    for modality in {row[4] for row in rows}:
        mine = [number for number, row in enumerate(rows) if row[4] == modality]
        ranks = consensus(np.array([rows[number][5] for number in mine]))
        for number, rank in zip(mine, ranks, strict=True):
            folder, uid, artefact, severity, _, _ = rows[number]
            found[number] = SimulatedSeries(
                folder=folder,
                series_instance_uid=uid,
                artefact=artefact,
                severity=severity,
                score=low + (high - low) * float(rank),
            )
    return [found[number] for number in range(len(rows))]


def _write_labels(path: Path, series: Sequence[SimulatedSeries]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# scale: {SCALE[0]:g}-{SCALE[1]:g}\n")
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in series:
            seen = SEEN_AS.get(one.artefact, "")
            reason = f"simulated {one.artefact} {one.severity:g}" if one.severity else "simulated clean"
            writer.writerow((one.folder, one.series_instance_uid, RATER, f"{one.score:.4f}", seen, reason))
