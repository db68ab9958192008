"""A label file beside a folder of DICOM: which files each label speaks of, and the samples they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qagate.dicom.headers import HeaderError, read_header
from qagate.files import SeriesFiles, group
from qagate.label import Label, LabelKind, Scale
from train.labels import files
from train.labels.opinion import Scoring
from train.labels.rated import Rated, samples
from train.labels.sample import Labelled
from train.labels.schema import Row


class Unresolved(ValueError):
    """A row's path leads to no single series; the message says why and the mend."""


def read_folder(
    file: Path,
    root: Path | None = None,
    *,
    scale: Scale | None = None,
    rater: str | None = None,
    scoring: Scoring | None = None,
) -> Labelled:
    """Samples of the series below `root` (the label file's folder) that `file` labels.

    Studies that are missing or cannot be read are problems of the answer. Clicks make no samples.
    Raises LabelFileError for the label file itself, OSError when it cannot be read.
    """
    rows = files.read(file, scale=scale, rater=rater)
    found, problems = group([root or file.parent])
    known = {one.series_instance_uid: one for one in found}
    resolved, unresolved = resolve(rows, file.parent, known)
    rated, missing = _rated(resolved, known, file)
    made, without, notes = samples(rated, scoring or Scoring())
    clicks = sum(row.label.kind is not LabelKind.RATING for row in rows)
    if clicks:
        notes.append(f"{clicks} clicks are no scores and make no samples")
    return Labelled(
        samples=tuple(made),
        problems=(*[f"{file}, {one}" for one in unresolved], *missing, *problems, *without),
        notes=tuple(notes),
    )


def resolve(
    rows: Iterable[Row], base: Path, known: Mapping[str, SeriesFiles] | None = None
) -> tuple[list[Row], list[str]]:
    """Rows whose labels all name their series, and a sentence for each path that leads to none.

    Paths begin at `base`. `known` spares reading folders again.
    """
    places = _places(known or {})
    done: dict[str, str] = {}
    resolved, problems = [], []
    for row in rows:
        if not row.path:
            resolved.append(row)
            continue
        try:
            uid = done.get(row.path) or _series_at(base / row.path, places)
            if row.label.series_instance_uid not in ("", uid):
                raise Unresolved(
                    f"{row.path} is series {uid}, not {row.label.series_instance_uid}; correct one of the two"
                )
        except Unresolved as error:
            problems.append(f"row {row.number}, column path: {error}")
            continue
        done[row.path] = uid
        resolved.append(replace(row, label=replace(row.label, series_instance_uid=uid)))
    return resolved, problems


def _places(known: Mapping[str, SeriesFiles]) -> dict[Path, set[str]]:
    """Every file, and every folder above it, with the series there."""
    places: dict[Path, set[str]] = {}
    for uid, one in known.items():
        for path in (path.resolve() for path in one.paths):
            for place in (path, *path.parents):
                places.setdefault(place, set()).add(uid)
    return places


def _series_at(path: Path, places: Mapping[Path, set[str]]) -> str:
    """The one series that a file or a folder holds."""
    if not path.exists():
        raise Unresolved(f"{path} does not exist; paths begin at the label file's folder")
    inside = places.get(path.resolve(), set())
    if path.is_dir():
        inside = inside or {one.series_instance_uid for one in group([path])[0]}
        if not inside:
            raise Unresolved(f"{path} holds no DICOM image that can be read")
        if len(inside) > 1:
            raise Unresolved(f"{path} holds {len(inside)} series; give series_instance_uid, or one's folder")
    try:
        return next(iter(inside)) if inside else read_header(path).series_instance_uid
    except (HeaderError, OSError) as error:
        raise Unresolved(f"{path} cannot be read: {error}") from None


def _rated(
    rows: Sequence[Row], known: Mapping[str, SeriesFiles], file: Path
) -> tuple[list[Rated], list[str]]:
    by_object: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        by_object.setdefault((row.label.series_instance_uid, row.label.sop_instance_uid), []).append(row)
    rated, problems = [], []
    for (uid, sop_uid), of in by_object.items():
        place = f"{file}, row {of[0].number}"
        series = known.get(uid)
        if series is None:
            problems.append(f"{place}: series {uid} is not in the folder, or cannot be read")
            continue
        paths, study = _paths(series, sop_uid)
        if not paths:
            problems.append(f"{place}: image {sop_uid} is not among the files of series {uid}")
            continue
        rated.append(
            Rated(
                series_instance_uid=uid,
                sop_instance_uid=sop_uid,
                paths=paths,
                modality=series.header.modality,
                station=series.header.station_name,
                study=study,
                labels=last_of_each([row.label for row in of]),
            )
        )
    return rated, problems


def _paths(series: SeriesFiles, sop_instance_uid: str | None) -> tuple[tuple[Path, ...], str]:
    """The files of the series, or the one of the image; and the Study Instance UID."""
    first = read_header(series.paths[0])
    if sop_instance_uid is None:
        return series.paths, first.study_instance_uid
    of = tuple(path for path in series.paths if read_header(path).sop_instance_uid == sop_instance_uid)
    return of, first.study_instance_uid


def last_of_each(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The last answer of each rater to each question; of equal times, and without times, the later row."""
    last: dict[tuple[str, str], Label] = {}
    for one in labels:
        former = last.get((one.rater, one.kind.question))
        if former and former.created_at and one.created_at and one.created_at < former.created_at:
            continue
        last[one.rater, one.kind.question] = one
    return tuple(last.values())
