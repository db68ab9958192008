"""Series of an archive folder or the spool with the physical parameters that their headers tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qagate.assessment import Prompt
from qagate.dicom.headers import HeaderError, read_header
from qagate.dicom.pixels import read_series
from qagate.files import SeriesFiles, group
from qagate.gate.prompts import prompt_from
from qagate.gate.slices import scored_stack
from train.data.case import Case, numbered
from train.evaluation.tables import Cell, Column, Table
from train.labels.rated import patient_of
from train.labels.sample import UnusableLabels
from train.physics import PARAMETERS, Physics, physics_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One series as its headers tell it; nothing was decoded."""

    files: SeriesFiles
    prompt: Prompt
    slices: int  #: of the stack that would be looked at
    scanner: str  #: manufacturer, model and station
    patient: str  #: stands for the patient; "" where unknown
    study: str  #: (0020,000D)
    physics: Physics
    not_assessed: str | None = None  #: why the gate would not look at it

    group: str = ""  #: no reference volume is known


def spool_or_folder(path: Path) -> Path:
    """Where the accepted instances lie: of a spool, not what is still being received."""
    return path / "series" if (path / "series").is_dir() and (path / "incoming").is_dir() else path


def read_archive(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[list[Found], list[str]]:
    """Every series below the paths, and one sentence for each file that cannot be read."""
    series, problems = group(spool_or_folder(path) for path in paths)
    found = []
    for number, one in enumerate(series, start=1):
        found.append(_read(one))
        progress(number, len(series))
    return found, problems


def _read(one: SeriesFiles) -> Found:
    images = read_series(one.paths)
    stack = scored_stack(images.stacks)
    words = (str(images.attributes.get(name) or "") for name in
             ("Manufacturer", "ManufacturerModelName", "StationName"))  # fmt: skip
    patient, study = patient_of(one.paths[0])[0], ""
    with contextlib.suppress(HeaderError, OSError):  # read a moment ago; preparing the series will say so
        study = read_header(one.paths[0]).study_instance_uid
    return Found(
        files=one,
        prompt=prompt_from(images.attributes),
        slices=0 if stack is None else len(stack.slices),
        scanner=" ".join(word for word in words if word),
        patient=patient,
        study=study,
        physics=physics_of(images.attributes),
        not_assessed=images.not_assessed or (None if stack else "no stack of it may be looked at"),
    )


def telling(found: Sequence[Found], parameters: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The parameters of which two values at least are told, and a sentence for each other.

    Raises UnusableLabels for a name that is no key of `train.physics.PARAMETERS`, and when none is left.
    """
    if unknown := sorted(set(parameters) - set(PARAMETERS)):
        raise UnusableLabels(f"{unknown[0]!r} is no physical parameter; there are {', '.join(PARAMETERS)}")
    known = [one.physics.known() for one in found if one.not_assessed is None]
    values = {name: [of[name] for of in known if name in of] for name in parameters}
    notes = [
        f"{name} is left out: {len(told)} of {len(found)} series tell it, {len(set(told))} value(s) in all"
        for name, told in values.items()
        if len(set(told)) < 2
    ]
    kept = tuple(name for name in parameters if len(set(values[name])) > 1)
    if not kept:
        raise UnusableLabels(
            f"no physical parameter differs between these {len(found)} series, so there is nothing to learn "
            f"({'; '.join(notes)}); `--dry-run` shows what each tells. Name more folders"
        )
    return kept, notes


def cases_of(found: Sequence[Found], parameters: Sequence[str]) -> list[Case]:
    """The series that tell one of the parameters, as cases."""
    told = {
        number: {name: value for name, value in one.physics.known().items() if name in parameters}
        for number, one in enumerate(found)
        if one.not_assessed is None
    }
    kept = [(found[number], values) for number, values in told.items() if values]
    units = numbered(_units([one for one, _ in kept]))
    return [
        Case(
            name=one.files.series_instance_uid,
            paths=one.files.paths,
            modality=one.prompt.modality,
            unit=unit,
            scanner=one.scanner,
            targets={name: PARAMETERS[name].label(value) for name, value in values.items()},
            values=values,
        )
        for (one, values), unit in zip(kept, units, strict=True)
    ]


def _units(found: Sequence[Found]) -> list[str]:
    from train.labels.sample import units

    return units([_Part(one.files.series_instance_uid, one.patient, one.study) for one in found])


@dataclass(frozen=True, slots=True)
class _Part:
    """What `units` looks at."""

    group: str
    patient: str
    study: str


def table(found: Sequence[Found], parameters: Sequence[str]) -> Table:
    """What was read of each series, and what would be learnt from it."""
    names = ("mas", "effective_mas", "ctdivol", "tesla")
    columns = [Column(name=name, numeric=False) for name in ("series", "modality", "scanner", "prompt")]
    columns += [Column(name="slices", digits=0)]
    columns += [Column(name=f"{name} ({PARAMETERS[name].unit})", digits=2) for name in names]
    columns += [Column(name=name, numeric=False) for name in ("learnt", "evidence")]
    return Table(
        title=f"Physical parameters of {len(found)} series",
        columns=tuple(columns),
        rows=tuple(_row(one, names, parameters) for one in found),
    )


def _row(one: Found, names: Sequence[str], parameters: Sequence[str]) -> tuple[Cell, ...]:
    known = one.physics.known()
    learnt = ", ".join(
        f"{name} {PARAMETERS[name].label(known[name]):.3f}" for name in parameters if name in known
    )
    told = (one.prompt.dimension, one.prompt.region, one.prompt.type)
    return (
        one.files.place.name,
        one.prompt.modality,
        one.scanner,
        " ".join(word for word in told if word != "unknown"),
        one.slices,
        *(known.get(name) for name in names),
        learnt if one.not_assessed is None else f"no: {one.not_assessed}",
        "; ".join(one.physics.evidence),
    )


def as_json(found: Sequence[Found], parameters: Sequence[str]) -> str:
    """One object a line for each series, for machines."""
    lines = []
    for one in found:
        known = one.physics.known()
        learnt = {name: PARAMETERS[name].label(known[name]) for name in parameters if name in known}
        told = {
            "series_instance_uid": one.files.series_instance_uid, "scanner": one.scanner,
            "prompt": asdict(one.prompt), "slices": one.slices, "physics": asdict(one.physics),
            "learnt": learnt if one.not_assessed is None else {}, "not_assessed": one.not_assessed,
        }  # fmt: skip
        lines.append(json.dumps(told))
    return "\n".join(lines)
