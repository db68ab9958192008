"""LDCTIQAG2023: abdominal CT at low dose and with few views, 0-4 by radiologists (Lee et al., MICCAI 2023).

Layout of the training set: `train.json` (image name -> mean score) beside the folder `image` with TIFFs. Of
the test set: `test-ground-truth.json` (`test_0.mha` -> fnames and scores, images in the folder `test_0`), or
`test.json` like the training set's beside `image` or `images`. Images are called `0333.tif` in one release,
and in another `L096_402_1_1.tif`: patient, slice, and the place in the grid of degradations; names in the
JSON come with and without `.tif`. Known from the loaders of others; the data set itself was not at hand. The
publisher keeps patients of the two sets apart; within a set only the second kind of name tells them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qagate.label import Scale
from train.labels.adapters.common import DataSetError, document, first, missing, score
from train.labels.sample import Labelled, Sample

SCALE = Scale(0, 4)
_FILES = {"train.json": "train", "test-ground-truth.json": "test", "test.json": "test"}
_NAMED = re.compile(r"(?P<patient>[A-Za-z]+\d+)_(?P<slice>\d+)_\d+(_\d+)?")
_SUFFIXES = (".tif", ".tiff")


def read(root: Path) -> Labelled:
    """Samples of every part that is there, grouped by slice and patient where names tell them."""
    files = [path for name in _FILES for path in (*root.glob(name), *sorted(root.glob(f"*/{name}")))]
    if not files:
        first(root, *_FILES, what="scores")
    samples = [
        _sample(path, name, score(value, file, name), _FILES[file.name])
        for file in files
        for path, name, value in _scores(file)
    ]
    problems = missing((one.paths[0] for one in samples), root)
    anonymous = sum(not one.patient for one in samples)
    notes = []
    if anonymous:
        notes.append(
            f"the names of {anonymous} images tell no patient: within a part, a split of them shares patients"
        )
    there = tuple(one for one in samples if one.paths[0].is_file())
    return Labelled(samples=there, problems=tuple(problems), notes=tuple(notes))


def _scores(file: Path) -> Iterator[tuple[Path, str, object]]:
    """(image, its name, its score) of a JSON file of either kind."""
    for key, value in document(file).items():
        if not isinstance(value, dict):
            folders = [file.parent / name for name in ("image", "images") if (file.parent / name).is_dir()]
            folder = folders[0] if folders else file.parent / "image"
            name = _stem(key)
            yield _image(folder, name), name, value
            continue
        names, scores = value.get("fnames"), value.get("scores")
        if not isinstance(names, list) or not isinstance(scores, list) or len(names) != len(scores):
            raise DataSetError(f"{file}, {key}: expected as many fnames as scores")
        for name, one in zip(map(_stem, map(str, names)), scores, strict=True):
            yield _image(file.parent / key.partition(".")[0], name), name, one


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _image(folder: Path, name: str) -> Path:
    there = [folder / f"{name}{suffix}" for suffix in _SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    return there[0] if there else folder / f"{name}{_SUFFIXES[0]}"


def _sample(path: Path, name: str, mos: float, part: str) -> Sample:
    told = _NAMED.fullmatch(name)
    return Sample(
        name=f"{part}/{name}",
        paths=(path,),
        modality="CT",
        mos=mos,
        scale=SCALE,
        group=f"{told['patient']}_{int(told['slice'])}" if told else f"{part}/{name}",
        patient=told["patient"] if told else "",
        part=part,
    )
