"""The labels in the store, and the spooled series they speak of, become samples."""

from __future__ import annotations

from pathlib import Path

from qagate.label import LabelKind
from qagate.store.labels import Labels, StoredLabel
from train.labels.opinion import Scoring
from train.labels.rated import Rated, samples
from train.labels.sample import Labelled


def read_store(labels: Labels, spool: Path, *, scoring: Scoring | None = None) -> Labelled:
    """Samples of every series that has ratings in the store and files in the spool.

    Where raters saw several revisions of a series, the last rated one counts, with the images it then had.
    Series whose files are gone are problems of the answer. Clicks make no samples.
    """
    by_object: dict[tuple[str, str | None], list[StoredLabel]] = {}
    clicks = 0
    for one in labels.latest():
        if one.label.kind is LabelKind.RATING:
            key = (one.label.series_instance_uid, one.label.sop_instance_uid)
            by_object.setdefault(key, []).append(one)
        else:
            clicks += 1
    rated: list[Rated] = []
    problems: list[str] = []
    older = 0
    for (uid, sop_uid), of in by_object.items():
        revision = max(one.label.revision or 0 for one in of)
        counting = [one for one in of if one.label.revision == revision]
        older += len(of) - len(counting)
        received = labels.instances(uid, revision)
        paths = tuple(
            spool / one.path for one in received if sop_uid is None or one.sop_instance_uid == sop_uid
        )
        gone = [path for path in paths if not path.is_file()]
        if gone or not paths:
            problems.append(
                f"series {uid}: {len(gone)} of its {len(paths)} images are no longer in the spool"
            )
            continue
        rated.append(
            Rated(
                series_instance_uid=uid,
                sop_instance_uid=sop_uid,
                paths=paths,
                modality=of[0].modality,
                station=of[0].station_name,
                study=of[0].study_instance_uid,
                labels=tuple(one.label for one in counting),
            )
        )
    made, without, notes = samples(rated, scoring or Scoring())
    if older:
        notes.append(f"{older} ratings speak of an earlier revision than the last rated one and do not count")
    if clicks:
        notes.append(f"{clicks} clicks are no scores and make no samples")
    return Labelled(samples=tuple(made), problems=(*problems, *without), notes=tuple(notes))
