"""KonIQ-10k: photographs in the wild, scored by a crowd (Hosu et al., 2020).

Layout: `koniq10k_scores_and_distributions.csv` (columns image_name, c1 to c5, c_total, MOS on 1-5, SD,
MOS_zscore on 1-100), or `koniq10k_distributions_sets.csv` of the authors' repository (MOS on 0-100, SD, set),
beside the folder `1024x768` or `512x384` with the images. The second table is the repository's own, seen; the
first is known from the loaders of others only. Where both are there, the second wins: it names the sets.
"""

from __future__ import annotations

from pathlib import Path

from qagate.label import Scale
from train.labels.adapters.common import first, missing, score, table
from train.labels.sample import Labelled, Sample

_SETS = "koniq10k_distributions_sets.csv"
_SCORES = "koniq10k_scores_and_distributions.csv"
_PARTS = {"training": "train", "validation": "validation", "test": "test"}
_STEPS = 4.0  #: from 1 to 5, in which SD stands in both tables


def read(root: Path) -> Labelled:
    """Samples of the images; every image is its own reference. Raises DataSetError."""
    file = first(root, _SETS, _SCORES, what="scores")
    folder = first(root, "1024x768", "512x384", what="images")
    scale = Scale(0, 100) if file.name == _SETS else Scale(1, 5)
    unit = (scale.high - scale.low) / _STEPS
    samples = []
    for row in table(file, ["image_name", "MOS", "SD"]):
        name = row["image_name"]
        samples.append(
            Sample(
                name=name,
                paths=(folder / name,),
                modality="",
                mos=score(row["MOS"], file, name),
                scale=scale,
                group=name,
                part=_PARTS.get(row.get("set", ""), ""),
                raters=round(score(row.get("c_total") or 0, file, name)),
                deviation=score(row["SD"], file, name) * unit,
            )
        )
    problems = missing((one.paths[0] for one in samples), root)
    return Labelled(samples=tuple(one for one in samples if one.paths[0].is_file()), problems=tuple(problems))
