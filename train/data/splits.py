"""Who trains and who tests: folds as the recipe says, and the proof that they share nothing they must not."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from train.data.case import Case
from train.evaluation.folds import (
    Fold,
    TooFewGroups,
    grouped_folds,
    leave_one_group_out,
    random_folds,
    split,
    with_validation,
)
from train.labels.sample import UnusableLabels
from train.recipe import FoldsRecipe

PARTS = ("train", "validation", "test")


def folds_of(cases: Sequence[Case], recipe: FoldsRecipe, seed: int) -> list[Fold]:
    """The recipe's folds; validation rows are no training rows.

    Raises UnusableLabels where there are too few patients, references or scanners, and for a given division
    that is not whole or has one patient on both sides.
    """
    try:
        folds = _folds(cases, recipe, seed)
        if recipe.validation:
            groups = _groups(cases, "random" if recipe.kind == "random" else "groups")
            folds = [
                fold if len(fold.validation) else with_validation(fold, groups, recipe.validation, seed=seed)
                for fold in folds
            ]
    except TooFewGroups as error:
        what = {"scanners": "scanners", "random": "labelled images"}.get(
            recipe.kind, "patients or references"
        )
        raise UnusableLabels(
            f"{len(cases)} labelled images come from too few {what} for folds.kind = {recipe.kind!r}: "
            f"{error}; label more, or ask for fewer folds"
        ) from error
    if recipe.kind == "scanners":
        folds = [_without_test_patients(fold, cases) for fold in folds]
    if recipe.kind != "random":
        apart(folds, cases)
    for number, fold in enumerate(folds):
        _learnable(fold, cases, number)
    return folds


def _folds(cases: Sequence[Case], recipe: FoldsRecipe, seed: int) -> list[Fold]:
    groups = _groups(cases, recipe.kind)
    match recipe.kind:
        case "references":
            return leave_one_group_out(groups)
        case "split":
            return [split(groups, recipe.shares, seed=seed)]
        case "given":
            return [_given(cases)]
        case "random":
            return random_folds(len(cases), recipe.k, seed=seed)
        case _:
            return grouped_folds(groups, recipe.k, seed=seed)


def _groups(cases: Sequence[Case], kind: str) -> list[str]:
    if kind != "scanners":
        return [str(index) if kind == "random" else f"{case.unit:08d}" for index, case in enumerate(cases)]
    if nameless := [case.name for case in cases if not case.scanner]:
        raise UnusableLabels(
            f"{len(nameless)} series name no scanner, {nameless[0]} among them; leave them out, or use "
            "folds.kind = 'groups'"
        )
    return [case.scanner for case in cases]


def _given(cases: Sequence[Case]) -> Fold:
    strange = [case for case in cases if case.part not in PARTS]
    rows = {part: np.flatnonzero([case.part == part for case in cases]) for part in PARTS}
    if strange or not len(rows["train"]) or not len(rows["test"]):
        why = f"{strange[0].name} is in no part" if strange else "the training or the test part is empty"
        raise UnusableLabels(
            f"folds.kind = 'given' needs a division into {', '.join(PARTS)}, and {why}; name one with "
            "--splits, or use folds.kind = 'groups'"
        )
    return Fold(**rows)


def _without_test_patients(fold: Fold, cases: Sequence[Case]) -> Fold:
    """A patient may lie in two scanners: training on the one would show the other's test patient."""
    tested = {cases[row].unit for row in fold.test}
    train, validation = ([row for row in part if cases[row].unit not in tested] for part in
                         (fold.train, fold.validation))  # fmt: skip
    return replace(fold, train=np.array(train, int), validation=np.array(validation, int))


def apart(folds: Sequence[Fold], cases: Sequence[Case]) -> None:
    """Raise UnusableLabels naming two cases of one patient, study or reference in two parts of a fold."""
    for number, fold in enumerate(folds):
        seen: dict[int, tuple[str, str]] = {}
        for part in PARTS:
            for row in getattr(fold, part):
                case = cases[row]
                where, other = seen.setdefault(case.unit, (part, case.name))
                if where != part:
                    raise UnusableLabels(
                        f"fold {number}: {other} ({where}) and {case.name} ({part}) are of one patient, "
                        "study or reference; put both on one side"
                    )


def _learnable(fold: Fold, cases: Sequence[Case], number: int) -> None:
    told: dict[str, set[float]] = {}
    for row in fold.train:
        for task, target in cases[row].targets.items():
            told.setdefault(task, set()).add(target)
    if not told:
        raise UnusableLabels(f"fold {number}: nothing is left to train on; ask for other folds")
    if all(len(targets) == 1 for targets in told.values()):
        raise UnusableLabels(
            f"fold {number}: all training labels of {', '.join(sorted(told))} are alike; label better and "
            "worse images of more patients, or ask for other folds"
        )


def write(folds: Sequence[Fold], cases: Sequence[Case], path: Path) -> None:
    """One line a case and fold; of a single fold, a file that `read_parts` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fold", "name", "part"])
        for number, fold in enumerate(folds):
            for part in PARTS:
                writer.writerows([number, cases[row].name, part] for row in getattr(fold, part))


def read(path: Path, cases: Sequence[Case]) -> list[Fold]:
    """What `write` wrote. Raises KeyError for a case that is not there, OSError."""
    places = {case.name: number for number, case in enumerate(cases)}
    found: dict[int, dict[str, list[int]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            parts = found.setdefault(int(row["fold"]), {part: [] for part in PARTS})
            parts[row["part"]].append(places[row["name"]])
    return [
        Fold(**{part: np.array(rows, int) for part, rows in one.items()}) for _, one in sorted(found.items())
    ]


def read_parts(path: Path, cases: Sequence[Case]) -> list[Case]:
    """The cases with the parts that a CSV with columns name and part gives them.

    Raises UnusableLabels for a file without these columns, an unknown part and a case that it leaves out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableLabels(f"{path} cannot be read: {error}") from error
    if not rows or not {"name", "part"} <= rows[0].keys():
        raise UnusableLabels(f"{path}: expected a header with the columns name and part, and rows below")
    parts: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if row["part"] not in PARTS:
            raise UnusableLabels(f"{path}, line {line}: part {row['part']!r} is none of {', '.join(PARTS)}")
        if parts.setdefault(row["name"], row["part"]) != row["part"]:
            raise UnusableLabels(f"{path}, line {line}: {row['name']} is in two parts; keep one line of it")
    if missing := [case.name for case in cases if case.name not in parts]:
        raise UnusableLabels(f"{path} leaves out {len(missing)} cases, {missing[0]} among them; add them")
    return [replace(case, part=parts[case.name]) for case in cases]
