"""KADID-10k: 81 photographs, 25 distortions at 5 levels each (Lin et al., 2019).

Layout: `dmos.csv` (columns dist_img, ref_img, dmos, var) beside the folder `images`. In spite of its name
`dmos` is a quality, 1 (worst) to 5 (best): it falls with the level in the published table, by the account of
others; the data set itself was not at hand. Whether `var` is a variance is told in two ways, so it is not
used.
"""

from __future__ import annotations

from pathlib import Path

from qagate.label import Scale
from train.labels.adapters.common import first, missing, score, table
from train.labels.sample import Labelled, Sample

SCALE = Scale(1, 5)


def read(root: Path) -> Labelled:
    """Samples of the distorted images, grouped by reference. Raises DataSetError."""
    file = first(root, "dmos.csv", what="scores")
    folder = first(root, "images", what="images")
    samples = []
    for row in table(file, ["dist_img", "ref_img", "dmos"]):
        name = row["dist_img"]
        samples.append(
            Sample(
                name=name,
                paths=(folder / name,),
                modality="",
                mos=score(row["dmos"], file, name),
                scale=SCALE,
                group=row["ref_img"],
            )
        )
    problems = missing((one.paths[0] for one in samples), root)
    return Labelled(samples=tuple(one for one in samples if one.paths[0].is_file()), problems=tuple(problems))
