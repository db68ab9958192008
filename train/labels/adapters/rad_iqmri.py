"""RAD-IQMRI: 8 MR images, each degraded in 14 ways, rated by 13 radiologists (Ma et al., 2024).

The data set is given on signed request and was not at hand. Its own page names the contents (8 references,
112 distorted images; ghosting, edge ghosting, white and coloured noise at two energies; mean opinion scores
of 0 to 100 after outlier rejection and z-scores) but no layout. The layout here is that of MIQANet's training
script: folders `Train_Distort` and `Val_Distort` with images, and `mri_train.txt` and `mri_val.txt` with a
line an image, name and score parted by a comma or blanks. What that script calls validation is its fold, not
the publisher's, so no part is kept.

What reference an image was made from is not told there, and no split may part its copies: a file
`references.csv` (columns image, reference) says it, or the name, up to the artefact's name, does.
"""

from __future__ import annotations

import re
from pathlib import Path

from qagate.label import Scale
from train.labels.adapters.common import DataSetError, first, missing, score, table
from train.labels.sample import Labelled, Sample

SCALE = Scale(0, 100)
_PARTS = {"mri_train.txt": "Train_Distort", "mri_val.txt": "Val_Distort"}
_ARTEFACT = re.compile(r"[\s_-]*(edge[\s_-]*ghost|ghost|white|colou?red|noise)", re.IGNORECASE)


def read(root: Path) -> Labelled:
    """Samples of the distorted images, grouped by reference. Raises DataSetError where that is not told."""
    files = [path for name in _PARTS for path in (*root.glob(name), *sorted(root.glob(f"*/{name}")))]
    if not files:
        first(root, *_PARTS, what="scores")
    told = _told(root)
    samples = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
            if not line.strip():
                continue
            name, comma, value = line.strip().rpartition(",")
            if not comma:
                name, _, value = line.strip().rpartition(" ")
            if not name:
                raise DataSetError(f"{file}, line {number}: expected a name and a score, found {line!r}")
            name = name.strip()
            samples.append(
                Sample(
                    name=name,
                    paths=(file.parent / _PARTS[file.name] / name,),
                    modality="MR",
                    mos=score(value, file, f"line {number}"),
                    scale=SCALE,
                    group=told.get(name) or _reference(name, root),
                )
            )
    problems = missing((one.paths[0] for one in samples), root)
    return Labelled(samples=tuple(one for one in samples if one.paths[0].is_file()), problems=tuple(problems))


def _told(root: Path) -> dict[str, str]:
    file = root / "references.csv"
    if not file.is_file():
        return {}
    return {row["image"]: row["reference"] for row in table(file, ["image", "reference"])}


def _reference(name: str, root: Path) -> str:
    found = _ARTEFACT.search(name)
    if found is None or not name[: found.start()]:
        raise DataSetError(
            f"{name} does not tell what reference it was made from: write {root / 'references.csv'} with the "
            "columns image and reference, so that no split parts the copies of one reference"
        )
    return name[: found.start()].lower()
