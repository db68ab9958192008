"""The run folder: what a training was, what it found, and what it needs to go on. No patient, host or path.

recipe.toml  environment.json  cases.json  splits.csv    what it was
start/weights.safetensors                                what it started from, unless chance or shipped
fold-00/ ... final/                                      checkpoint, history, events, curves, predictions
predictions.csv  figures.json  figures/                  what the folds found, on cases not trained on
weights.safetensors                                      the network, for `qagate models add`
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from train.data import splits
from train.data.case import Case
from train.data.images import Prepared
from train.disk import full_disk_named, write_atomically
from train.evaluation.folds import Fold
from train.recipe import Recipe
from train.recipe_file import RecipeError, from_values, to_toml
from train.run.predict import Prediction

RECIPE, CASES, SPLITS, ENVIRONMENT = "recipe.toml", "cases.json", "splits.csv", "environment.json"
WEIGHTS, FIGURES, PREDICTIONS = "weights.safetensors", "figures.json", "predictions.csv"
START = Path("start") / WEIGHTS
_PACKAGES = ("qagate", "torch", "timm", "numpy", "safetensors", "pydicom", "scipy")


class RunFolderError(ValueError):
    """The folder is none of a run, or holds one already; the message names the mend."""


def begin(
    folder: Path,
    recipe: Recipe,
    cases: Sequence[Case],
    prepared: Sequence[Prepared],
    folds: Sequence[Fold],
    environment: Mapping[str, object],
) -> None:
    """Write what the training is. cases.json comes last: with it the folder can be resumed."""
    with full_disk_named(folder.name):
        write_atomically(folder / RECIPE, to_toml(recipe))
        write_atomically(folder / ENVIRONMENT, json.dumps(environment, indent=1) + "\n")
        splits.write(folds, cases, folder / SPLITS)
        rows = [_case_row(*pair) for pair in zip(cases, prepared, strict=True)]
        write_atomically(folder / CASES, json.dumps(rows, indent=0) + "\n")


def check_new(folder: Path) -> None:
    """Raise RunFolderError for a folder that holds anything already."""
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError(
            f"{folder} is not empty: name a new folder with --out, or `qagate train resume` it"
        )


def _case_row(case: Case, prepared: Prepared) -> dict[str, object]:
    row = asdict(case) | asdict(prepared)
    del row["paths"]
    return row


def open_run(folder: Path) -> tuple[Recipe, list[Case], list[Prepared], list[Fold]]:
    """What `begin` wrote. Raises RunFolderError for a folder that is none of a run."""
    import tomllib

    try:
        recipe = from_values(tomllib.loads((folder / RECIPE).read_text(encoding="utf-8")), RECIPE)
        rows = json.loads((folder / CASES).read_text(encoding="utf-8"))
        known = set(Prepared.__dataclass_fields__)
        prepared = [Prepared(**{name: row.pop(name) for name in known}) for row in rows]
        cases = [Case(paths=(), **row) for row in rows]
        return recipe, cases, prepared, splits.read(folder / SPLITS, cases)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error if isinstance(error, RecipeError) else f"{type(error).__name__}: {error}"
        raise RunFolderError(
            f"{folder} cannot be resumed ({why}); name a folder that `qagate train` wrote, or train anew"
        ) from error


def environment(device: torch.device, processes: int) -> dict[str, object]:
    """Versions, device and threads: what a repetition needs to know."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_predictions(
    path: Path, rows: Sequence[tuple[str, Prediction, Prediction | None]], cases: Sequence[Case]
) -> None:
    """rows: (fold, the prediction that counts, that of the other epoch where there is one)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["fold", "name", "task", "label", "target", "quality", "score", "other_quality", "grades"]
    )
    for fold, one, other in rows:
        case = cases[one.case]
        writer.writerow([
            fold, case.name, one.task, repr(case.values[one.task]), repr(case.targets[one.task]),
            repr(one.quality), repr(one.score), "" if other is None else repr(other.quality),
            " ".join(map(repr, one.grades)),
        ])  # fmt: skip
    write_atomically(path, out.getvalue())


def read_predictions(path: Path, cases: Sequence[Case]) -> list[tuple[str, Prediction, Prediction | None]]:
    """What `write_predictions` wrote, number for number."""
    places = {case.name: number for number, case in enumerate(cases)}
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            one = Prediction(
                case=places[row["name"]], task=row["task"], score=float(row["score"]),
                quality=float(row["quality"]), grades=tuple(map(float, row["grades"].split())),
            )  # fmt: skip
            other = row["other_quality"]
            found.append((row["fold"], one, _other(one, float(other)) if other else None))
    return found


def _other(one: Prediction, quality: float) -> Prediction:
    return Prediction(case=one.case, task=one.task, score=float("nan"), quality=quality)
