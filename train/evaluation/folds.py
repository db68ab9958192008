"""Which images train, which choose the epoch, which test; and what folds do to a figure.

A group is what must not be split: a patient, a reference image, a scanner. Only `random_folds` ignores
groups, for the protocols that did. Nothing here is stratified by label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from train.evaluation.correlation import NOT_A_NUMBER, Floats
from train.evaluation.significance import Rows


class TooFewGroups(ValueError):
    """There are fewer groups than parts to fill."""


def _no_rows() -> Rows:
    return np.empty(0, int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Row numbers of one division; the parts share no row and, `random_folds` apart, no group."""

    train: Rows
    test: Rows
    validation: Rows = field(default_factory=_no_rows)  #: chooses the epoch; empty where that is fixed


def random_folds(rows: int, k: int, *, seed: int = 0) -> list[Fold]:
    """k folds of rows at random, whatever group they belong to; their sizes differ by 1 at most.

    Copies of one reference then stand on both sides, which flatters: report `leave_one_group_out` beside it.
    Raises TooFewGroups when k exceeds the rows, ValueError when k < 2.
    """
    return grouped_folds(np.arange(rows), k, seed=seed)


def grouped_folds(groups: npt.ArrayLike, k: int, *, seed: int = 0) -> list[Fold]:
    """k folds of whole groups, of as even a number of rows as filling the emptiest fold first gives.

    groups: name of each row's group (N,). The seed decides among equals.
    Raises TooFewGroups when k exceeds the groups, ValueError when k < 2.
    """
    if k < 2:
        raise ValueError(f"k {k}: expected 2 folds or more")
    return [_fold(part, groups) for part in _parts(groups, [1.0] * k, seed, largest_first=True)]


def leave_one_group_out(groups: npt.ArrayLike) -> list[Fold]:
    """One fold a group, in the order of their names: leave-one-reference-out, leave-one-patient-out.

    Raises TooFewGroups for fewer than 2 groups.
    """
    names = _names(groups)
    found = np.unique(names)
    _enough(len(found), 2)
    return [_fold(np.flatnonzero(names == name), names) for name in found]


def split(groups: npt.ArrayLike, shares: Sequence[float] = (8, 1, 1), *, seed: int = 0) -> Fold:
    """One division of whole groups into train : validation : test, 8 : 1 : 1 unless told.

    Each part gets one group at least and as near its share of the rows as whole groups allow.
    Raises TooFewGroups for fewer groups than parts, ValueError unless there are 3 positive shares.
    """
    if len(shares) != 3 or min(shares) <= 0:
        raise ValueError(f"shares {tuple(shares)}: expected 3 positive numbers")
    train, validation, test = _parts(groups, shares, seed)
    return Fold(train=train, validation=validation, test=test)


def with_validation(fold: Fold, groups: npt.ArrayLike, share: float = 0.125, *, seed: int = 0) -> Fold:
    """Move whole groups out of a fold's training rows, so that the epoch is not chosen on the test rows.

    share: of the training rows, above 0 and below 1. Raises TooFewGroups for fewer than 2 training groups.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share}: expected a value between 0 and 1")
    rest, validation = _parts(_names(groups)[fold.train], (1 - share, share), seed)
    return replace(fold, train=fold.train[rest], validation=fold.train[validation])


def fold_of_rows(folds: Sequence[Fold], rows: int) -> Rows:
    """(N,) the number of the fold that tests each row. Raises ValueError unless each row is tested once."""
    times = np.zeros(rows, int)
    found = np.zeros(rows, int)
    for number, fold in enumerate(folds):
        np.add.at(times, fold.test, 1)
        found[fold.test] = number
    if (times != 1).any():
        row = int(np.flatnonzero(times != 1)[0])
        raise ValueError(f"row {row} is tested {times[row]} times; expected once")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One figure over folds, in the two ways that papers mix up."""

    pooled: float  #: of all test predictions together
    mean: float  #: over the folds that have the figure; optimistic where a curve is fitted in each fold
    deviation: float  #: standard deviation over those folds; NaN for fewer than 2
    by_fold: tuple[float, ...]  #: NaN where a fold lacks the figure


def aggregate(
    figure: Callable[[Floats, Floats], float], predicted: Floats, labels: Floats, fold: npt.ArrayLike
) -> Aggregate:
    """figure(predicted, labels) on everything and fold by fold; fold: name of the fold of each row (N,)."""
    names = np.asarray(fold)
    found = np.array([figure(predicted[names == f], labels[names == f]) for f in np.unique(names)])
    there = found[~np.isnan(found)]
    return Aggregate(
        pooled=figure(predicted, labels),
        mean=float(there.mean()) if len(there) else NOT_A_NUMBER,
        deviation=float(there.std(ddof=1)) if len(there) > 1 else NOT_A_NUMBER,
        by_fold=tuple(map(float, found)),
    )


def _names(groups: npt.ArrayLike) -> npt.NDArray[np.generic]:
    names = np.asarray(groups)
    if names.ndim != 1:
        raise ValueError(f"groups have shape {names.shape}; expected one name a row (N,)")
    return names


def _enough(groups: int, parts: int) -> None:
    if groups < parts:
        raise TooFewGroups(f"{groups} groups cannot fill {parts} parts; a group is never split")


def _fold(test: Rows, groups: npt.ArrayLike) -> Fold:
    return Fold(train=np.setdiff1d(np.arange(len(_names(groups))), test), test=test)


def _parts(
    groups: npt.ArrayLike, shares: Sequence[float], seed: int, *, largest_first: bool = False
) -> list[Rows]:
    """Rows of each part: group after group goes to the part that lacks most rows.

    Largest first is the most even; unequal parts take the groups in random order, else the training part
    would always get the large ones.
    """
    _, number, sizes = np.unique(_names(groups), return_inverse=True, return_counts=True)
    _enough(len(sizes), len(shares))
    order = np.random.default_rng(seed).permutation(len(sizes))
    if largest_first:
        order = order[np.argsort(-sizes[order], kind="stable")]
    wanted = np.array(shares, float) / sum(shares) * len(number)
    have, part_of = np.zeros(len(shares)), np.zeros(len(sizes), int)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        empty = have == 0
        lack = wanted - have
        if left <= empty.sum():  # the rest must fill the parts that have nothing
            lack = np.where(empty, lack, -np.inf)
        part_of[group] = int(np.argmax(lack))
        have[part_of[group]] += sizes[group]
    return [np.flatnonzero(part_of[number] == part) for part in range(len(shares))]
