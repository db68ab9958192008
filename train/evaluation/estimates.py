"""Every figure at once, with its interval: pooled over the images, and as the mean over folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluation import correlation as of
from train.evaluation.correlation import Floats, fit_logistic
from train.evaluation.folds import aggregate
from train.evaluation.significance import CONFIDENCE, RESAMPLES, Interval, Rows, bootstrap

RAW, LOGISTIC4, LOGISTIC5 = "raw", "logistic 4", "logistic 5"
POOLED, FOLD_MEAN = "pooled", "fold mean"
NAMES = ("PLCC", "SROCC", "KROCC", "Score", "RMSE")
FIGURES = (
    *((RAW, name) for name in NAMES),
    *((curve, name) for curve in (LOGISTIC4, LOGISTIC5) for name in ("PLCC", "RMSE")),
)
FEW = 20  #: units, below which a percentile interval covers clearly less often than it says
GRADE_STEP = 0.2  #: label of a grade = grade x step: the 21 grades of LDCTIQA are 0 to 4
SMALL_FOLD = 50  #: images, below which a 5-parameter fit raises a true PLCC of 0.88 by more than 0.01


def figures(predicted: Floats, labels: Floats) -> Floats:
    """(len(FIGURES),) what predictions (N,) reach against labels (N,), in the order of FIGURES."""
    raw = [f(predicted, labels) for f in (of.plcc, of.srocc, of.krocc, of.score, of.rmse)]
    four, five = fit_logistic(predicted, labels, 4), fit_logistic(predicted, labels, 5)
    return np.array([*raw, four.plcc, four.rmse, five.plcc, five.rmse])


def decode(grades: Floats, step: float = GRADE_STEP) -> dict[str, Floats]:
    """Distributions over grades (N, G) -> scores (N,), read as "argmax" and as "continuous", their mean.

    Argmax lands on the labels' own grid, which raises tau-b for free; judge by both.
    Source: ClinReadNet, section 4.3 (argmax / 5).
    Raises ValueError unless each row is a distribution.
    """
    grades = np.asarray(grades, float)
    if grades.ndim != 2 or grades.shape[1] < 2:
        raise ValueError(f"grades have shape {grades.shape}; expected (N, G) with 2 grades or more")
    sums = grades.sum(axis=1)
    if not (grades >= 0).all() or not np.allclose(sums, 1, atol=1e-3):
        raise ValueError("grades: expected distributions, each row >= 0 and summing to 1")
    return {
        "argmax": grades.argmax(axis=1) * step,
        "continuous": grades @ np.arange(grades.shape[1]) * step / sums,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One figure of one model, in one way of computing it."""

    scores: str  #: whose: a way of reading the predictions, a model's name, or "A − B"
    over: str  #: POOLED or FOLD_MEAN
    curve: str  #: RAW, LOGISTIC4 or LOGISTIC5
    figure: str  #: one of NAMES
    interval: Interval


def find(estimates: Iterable[Estimate], key: tuple[str, str, str, str]) -> Interval:
    """The interval of (scores, over, curve, figure); KeyError where there is none."""
    for e in estimates:
        if (e.scores, e.over, e.curve, e.figure) == key:
            return e.interval
    raise KeyError(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How intervals come about. Raises ValueError for groups or folds that do not name every image."""

    images: int
    groups: npt.ArrayLike | None = None  #: name of what each image belongs to; drawn whole
    folds: npt.ArrayLike | None = None  #: name of the fold that tested each image
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE
    seed: int = 0

    def __post_init__(self) -> None:
        for name, given in (("groups", self.groups), ("folds", self.folds)):
            if given is not None and np.shape(given) != (self.images,):
                raise ValueError(f"{name} have shape {np.shape(given)}; expected ({self.images},)")

    def estimates(self, owners: Sequence[str], vector: Callable[[Rows], Floats]) -> list[Estimate]:
        """vector: rows -> FIGURES of each owner, one after another (len(owners) x len(FIGURES),).

        The pooled figure is computed anew for each draw of images or groups; a fold mean draws folds, whose
        figures stay as they are, and leaves out folds that lack the figure.
        """
        found = [(POOLED, self._intervals(vector, self.images, self.groups))]
        if self.folds is not None:
            names = np.asarray(self.folds)
            of_fold = np.array([vector(np.flatnonzero(names == f)) for f in np.unique(names)])
            found.append((FOLD_MEAN, self._intervals(lambda chosen: _mean(of_fold[chosen]), len(of_fold))))
        keys = [(owner, *figure) for owner in owners for figure in FIGURES]
        return [
            Estimate(scores=owner, over=over, curve=curve, figure=figure, interval=interval)
            for over, intervals in found
            for (owner, curve, figure), interval in zip(keys, intervals, strict=True)
        ]

    def _intervals(
        self, vector: Callable[[Rows], Floats], rows: int, groups: npt.ArrayLike | None = None
    ) -> list[Interval]:
        return bootstrap(
            vector, rows, groups=groups, resamples=self.resamples, confidence=self.confidence, seed=self.seed
        )

    def notes(self) -> list[str]:
        """How many of what, how intervals were drawn, and what to distrust."""
        count = self.images if self.groups is None else len(np.unique(self.groups))
        units = "images" if self.groups is None else "groups"
        notes = [
            f"{self.images} images. Intervals: {self.confidence:.0%}, percentiles of {self.resamples} draws, "
            f"seed {self.seed}, of the {count} {units}{_narrow(count)}."
        ]
        if self.folds is None:
            return notes
        names, sizes = np.unique(self.folds, return_counts=True)
        size = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        notes.append(f"Fold means: of {len(names)} folds of {size} images{_narrow(len(names))}.")
        if sizes.min() < SMALL_FOLD:
            notes.append(
                "The fold mean after a logistic is optimistic: the curve was fitted in each small fold. "
                "Believe raw and pooled figures."
            )
        if self.groups is not None:
            pairs = set(zip(np.asarray(self.groups).tolist(), np.asarray(self.folds).tolist(), strict=True))
            if len(pairs) > len({group for group, _ in pairs}):
                notes.append("Groups are split between folds: a model was tested on groups that it had seen.")
        return notes


def _narrow(units: int) -> str:
    return "; so few make intervals too narrow" if units < FEW else ""


def _mean(values: Floats) -> Floats:
    """Mean over folds (K, figures), leaving NaN out."""
    there = ~np.isnan(values)
    counts = there.sum(axis=0)
    total = np.where(there, values, 0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def check(scores: Mapping[str, Floats], labels: Floats) -> None:
    """Raise ValueError unless labels (N,) and all scores (N,) are finite and of one length."""
    if labels.ndim != 1 or not np.isfinite(labels).all():
        raise ValueError(f"labels of shape {labels.shape}: expected one finite number an image (N,)")
    for name, given in scores.items():
        if given.shape != labels.shape:
            raise ValueError(f"{name}: predictions have shape {given.shape}; expected {labels.shape}")
        if not np.isfinite(given).all():
            raise ValueError(f"{name}: predictions contain NaN or infinity")


def remarks(scores: Mapping[str, Floats], labels: Floats, folds: npt.ArrayLike | None = None) -> list[str]:
    """What a reader of the figures must know about the scores, their curves and their folds."""
    told = []
    for name, given in scores.items():
        if of.plcc(given, labels) < 0:
            told.append(f"{name}: scores fall as labels rise; Score and the logistic figures hide the sign.")
        for parameters in (4, 5):
            fit = fit_logistic(given, labels, 4 if parameters == 4 else 5)
            if fit.reason:
                told.append(f"{name}, logistic {parameters}: {fit.reason}.")
            elif not fit.monotone:
                told.append(f"{name}, logistic {parameters}: the curve is not monotone over these scores.")
        for curve, figure in ((RAW, of.plcc), (LOGISTIC5, of.plcc_logistic5)):
            by_fold = () if folds is None else aggregate(figure, given, labels, folds).by_fold
            if missing := int(np.isnan(by_fold).sum()):
                told.append(f"{name}, {curve}: {missing} folds have no PLCC and are left out of the mean.")
    return told
