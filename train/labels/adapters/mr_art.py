"""MR-ART: T1-weighted heads of 148 people, lying still and moving (Nárai et al., 2022; OpenNeuro ds004173).

Layout (BIDS): `derivatives/scores.tsv` with the columns bids_name and score, and
`sub-NNNNNN/anat/<bids_name>.nii.gz`, where bids_name is sub-NNNNNN_acq-standard_T1w,
sub-NNNNNN_acq-headmotion1_T1w or sub-NNNNNN_acq-headmotion2_T1w. Scores are 1 (good), 2 (medium) and 3 (bad).
Known from the loaders of others; the data set itself was not at hand.
"""

from __future__ import annotations

from pathlib import Path

from qagate.label import Scale
from train.labels.adapters.common import DataSetError, first, missing, score, table
from train.labels.sample import Labelled, Sample

SCALE = Scale(3, 1)


def read(root: Path) -> Labelled:
    """Samples of the volumes; the three scans of one person are one patient. Raises DataSetError."""
    file = first(root, "derivatives/scores.tsv", "scores.tsv", what="scores")
    top = file.parent.parent if file.parent.name == "derivatives" else file.parent
    samples = []
    for row in table(file, ["bids_name", "score"], delimiter="\t"):
        name = row["bids_name"].removesuffix(".nii.gz")
        subject = name.partition("_")[0]
        if not subject.startswith("sub-"):
            raise DataSetError(f"{file}: {name!r} is no name of a scan, such as sub-000103_acq-standard_T1w")
        samples.append(
            Sample(
                name=name,
                paths=(top / subject / "anat" / f"{name}.nii.gz",),
                modality="MR",
                mos=score(row["score"], file, name),
                scale=SCALE,
                group=subject,
                patient=subject,
            )
        )
    problems = missing((one.paths[0] for one in samples), root)
    return Labelled(samples=tuple(one for one in samples if one.paths[0].is_file()), problems=tuple(problems))
