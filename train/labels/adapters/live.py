"""LIVE Image Quality Assessment Database, release 2: 29 photographs, five distortions (Sheikh et al., 2006).

Layout: the folders `jp2k`, `jpeg`, `wn`, `gblur` and `fastfading` with `img1.bmp`, `img2.bmp`, ... (227, 233,
174, 174, 174 images), and, in that order of images, `dmos_realigned.mat` (dmos_new, orgs) or `dmos.mat`
(dmos, orgs), and `refnames_all.mat` (refnames_all). orgs marks images that are the reference itself; they are
left out. Scores are differences: 0 is as good as the reference, and realigned ones may pass 100. Known from
the loaders of others; the data set itself was not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from qagate.label import Scale
from train.labels.adapters.common import DataSetError, first, score
from train.labels.sample import Labelled, Sample

FOLDERS = ("jp2k", "jpeg", "wn", "gblur", "fastfading")
SCALE = Scale(100, 0)


def read(root: Path) -> Labelled:
    """Samples of the distorted images, grouped by reference. Raises DataSetError.

    Scores and images are matched by their place alone, so a folder that lacks an image is refused.
    """
    file = first(root, "dmos_realigned.mat", "dmos.mat", what="scores")
    scores = _vector(file, "dmos_new" if file.name == "dmos_realigned.mat" else "dmos")
    originals = _vector(file, "orgs")
    names_file = first(root, "refnames_all.mat", what="names of the references")
    references = [str(np.ravel(name)[0]) for name in _vector(names_file, "refnames_all")]
    folders = [first(root, name, what="images") for name in FOLDERS]
    counts = [sum(1 for _ in folder.glob("img*.bmp")) for folder in folders]
    paths = [
        folder / f"img{number}.bmp"
        for folder, count in zip(folders, counts, strict=True)
        for number in range(1, count + 1)
    ]
    lacking = [path for path in paths if not path.is_file()]
    if lacking or not len(paths) == len(scores) == len(originals) == len(references):
        found = ", ".join(f"{name} {count}" for name, count in zip(FOLDERS, counts, strict=True))
        raise DataSetError(
            f"{root} has {sum(counts)} images ({found}) and {len(scores)} scores, which are matched by "
            "place: unpack the data set again; no image may be missing or renamed"
        )
    return Labelled(
        samples=tuple(
            Sample(
                name=f"{path.parent.name}/{path.name}",
                paths=(path,),
                modality="",
                mos=score(value, file, path.name),
                scale=SCALE,
                group=reference,
            )
            for path, value, reference, original in zip(paths, scores, references, originals, strict=True)
            if not original
        )
    )


def _vector(path: Path, name: str) -> Any:
    """A variable of a MATLAB file, flattened."""
    try:
        found = loadmat(path)
    except (MatReadError, ValueError, OSError, NotImplementedError, TypeError) as error:
        raise DataSetError(f"{path} is no MATLAB file that can be read: {error}") from None
    if name not in found:
        raise DataSetError(f"{path} lacks the variable {name}: is it another file?")
    return np.ravel(found[name])
