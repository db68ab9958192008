"""One model judged, or two compared: as values, and as a folder of tables and plots.

Predictions come ready-made: nothing here loads images, runs a network or chooses folds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.evaluation import correlation as of
from train.evaluation.correlation import Floats, fit_logistic
from train.evaluation.estimates import (
    GRADE_STEP,
    LOGISTIC4,
    LOGISTIC5,
    NAMES,
    POOLED,
    RAW,
    Draws,
    Estimate,
    check,
    decode,
    figures,
    find,
    remarks,
)
from train.evaluation.plots import bland_altman, scatter
from train.evaluation.significance import CONFIDENCE, RESAMPLES, Interval, Rows, f_test, residual_test
from train.evaluation.tables import Cell, Column, Table

AS_GIVEN = "as given"  #: the name of scores that were not decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `evaluate` found."""

    labels: Floats
    scores: Mapping[str, Floats]  #: each way of reading the predictions
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...]

    def __getitem__(self, key: tuple[str, str, str, str]) -> Interval:
        """evaluation[scores, over, curve, figure]; KeyError where there is none."""
        return find(self.estimates, key)

    def table(self) -> Table:
        """A row for each way of computing, a column for each figure; RMSE in the labels' unit."""
        heads = [Column(name=name, numeric=False) for name in ("scores", "over", "curve")]
        rows: dict[tuple[str, str, str], dict[str, Cell]] = {}
        for e in self.estimates:
            rows.setdefault((e.scores, e.over, e.curve), {})[e.figure] = e.interval
        return Table(
            title="Agreement with the labels",
            columns=(*heads, *(Column(name=name) for name in NAMES)),
            rows=tuple((*key, *(row.get(name) for name in NAMES)) for key, row in rows.items()),
            notes=self.notes,
        )

    def write(self, folder: Path, *, unit: str = "") -> list[Path]:
        """table.txt, .csv, .md; a scatter and a Bland-Altman plot of each way of reading, as PNG and SVG."""
        return self.table().write(folder, "table") + _plots(self, folder, unit)


def evaluate(
    predicted: Floats | None,
    labels: Floats,
    *,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    grades: Floats | None = None,
    grade_step: float = GRADE_STEP,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Evaluation:
    """Every figure with its bootstrap interval, pooled and, where folds are given, as fold mean.

    predicted: (N,) scores, or None where grades say all. labels: (N,). groups: name of what each image
    belongs to (patient, reference), drawn whole. folds: name of the fold that tested each image. grades:
    (N, G) distributions of an ordinal model, read in both ways of `decode`.

    Raises ValueError for wrong shapes, values that are not finite, or neither predictions nor grades.
    """
    labels = np.asarray(labels, float)
    scores = {} if predicted is None else {AS_GIVEN: np.asarray(predicted, float)}
    scores |= {} if grades is None else decode(grades, grade_step)
    if not scores:
        raise ValueError("predicted and grades are both None; expected one of them")
    check(scores, labels)
    draws = Draws(
        images=len(labels), groups=groups, folds=folds, resamples=resamples, confidence=confidence, seed=seed
    )
    estimates: list[Estimate] = []
    for name, given in scores.items():

        def vector(rows: Rows, given: Floats = given) -> Floats:
            return figures(given[rows], labels[rows])

        estimates += draws.estimates([name], vector)
    return Evaluation(
        labels=labels,
        scores=scores,
        estimates=tuple(estimates),
        notes=(*draws.notes(), *remarks(scores, labels, folds)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `compare` found of two models."""

    labels: Floats
    scores: Mapping[str, Floats]  #: of the two models
    estimates: tuple[Estimate, ...]  #: of both, and of their difference under "A − B"
    tests: Table  #: F-test, residual test and Wilcoxon's paired test, after each curve
    notes: tuple[str, ...]

    def __getitem__(self, key: tuple[str, str, str, str]) -> Interval:
        """comparison[name, over, curve, figure]; KeyError where there is none."""
        return find(self.estimates, key)

    def table(self) -> Table:
        """A row for each figure; the last column says whether the difference's interval excludes 0."""
        names = (*self.scores, _difference(self.scores))
        rows: dict[tuple[str, str, str], list[Interval]] = {}
        for e in self.estimates:
            rows.setdefault((e.over, e.curve, e.figure), []).append(e.interval)
        heads = [Column(name=name, numeric=False) for name in ("over", "curve", "figure")]
        return Table(
            title=f"{names[0]} and {names[1]} on the same images",
            columns=(*heads, *(Column(name=n) for n in names), Column(name="differ", numeric=False)),
            rows=tuple((*key, *row, _yes(row[-1].excludes(0))) for key, row in rows.items()),
            notes=self.notes,
        )

    def write(self, folder: Path, *, unit: str = "") -> list[Path]:
        """table.* and tests.* (.txt, .csv, .md); scatter and Bland-Altman plots of both, as PNG and SVG."""
        tables = self.table().write(folder, "table") + self.tests.write(folder, "tests")
        return tables + _plots(self, folder, unit)


def compare(
    a: Floats,
    b: Floats,
    labels: Floats,
    *,
    names: tuple[str, str] = ("A", "B"),
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Comparison:
    """Figures of two models (N,) and of their difference, from the same draws, and the tests of significance.

    groups, folds: as in `evaluate`.
    Raises ValueError for wrong shapes, values that are not finite, fewer than 3 images, or equal names.
    """
    if names[0] == names[1]:
        raise ValueError(f"names {names}: expected two different ones")
    labels = np.asarray(labels, float)
    scores = {names[0]: np.asarray(a, float), names[1]: np.asarray(b, float)}
    check(scores, labels)
    draws = Draws(
        images=len(labels), groups=groups, folds=folds, resamples=resamples, confidence=confidence, seed=seed
    )

    def vector(rows: Rows) -> Floats:
        of_a, of_b = (figures(given[rows], labels[rows]) for given in scores.values())
        return np.concatenate([of_a, of_b, of_a - of_b])

    return Comparison(
        labels=labels,
        scores=scores,
        estimates=tuple(draws.estimates([*names, _difference(scores)], vector)),
        tests=_tests(scores, labels),
        notes=(*draws.notes(), *remarks(scores, labels, folds)),
    )


def _difference(scores: Mapping[str, Floats]) -> str:
    return " − ".join(scores)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _tests(scores: Mapping[str, Floats], labels: Floats) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for curve, parameters in ((RAW, 0), (LOGISTIC4, 4), (LOGISTIC5, 5)):
        mapped, errors, fitted = [], [], []
        for given in scores.values():
            fit = fit_logistic(given, labels, 4 if parameters == 4 else 5) if parameters else None
            mapped.append(fit(given) if fit else given)
            errors.append(fit.rmse if fit else of.rmse(given, labels))
            fitted.append(fit.parameters if fit else 0)
        if not np.isfinite(errors).all():
            rows.append((curve, "none: a curve could not be fitted", None, None, None, None, None))
            continue
        f = f_test(errors[0], errors[1], len(labels), parameters=max(fitted))
        smaller = _smaller(errors[0] - errors[1], scores)
        rows.append((curve, "P.1401 F of RMSE²", f.ratio, f.critical, f.p, _yes(f.significant), smaller))
        r = residual_test(mapped[0], mapped[1], labels)
        smaller = _smaller(r.median_difference, scores)
        rows.append((curve, f"{r.test} of |error|", r.statistic, None, r.p, _yes(r.significant), smaller))
        name, found = "Wilcoxon of |error|, paired", _yes(r.significant_paired)
        rows.append((curve, name, r.wilcoxon, None, r.wilcoxon_p, found, smaller))
    heads = [Column(name="curve", numeric=False), Column(name="test", numeric=False)]
    numbers = [Column(name="statistic"), Column(name="critical"), Column(name="p", digits=4)]
    answers = [Column(name="significant", numeric=False), Column(name="smaller error", numeric=False)]
    return Table(
        title="Do the models differ?",
        columns=(*heads, *numbers, *answers),
        rows=tuple(rows),
        notes=(
            "Level 0.05 for each test, not corrected for their number.",
            "F: one-sided p, as P.1401 tabulates it. The images are the same, so trust the paired test.",
            "All take images for independent evidence; those of one group are not: see the intervals.",
        ),
    )


def _smaller(difference: float, scores: Mapping[str, Floats]) -> str | None:
    first, second = scores
    return None if difference == 0 else first if difference < 0 else second


def _plots(found: Evaluation | Comparison, folder: Path, unit: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    stems: set[str] = set()
    for number, (name, given) in enumerate(found.scores.items(), 1):
        stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        stem = f"model-{number}" if not stem or stem in stems else stem
        stems.add(stem)
        figures_told = [
            (RAW, "PLCC"),
            (RAW, "SROCC"),
            (RAW, "KROCC"),
            (LOGISTIC4, "PLCC"),
            (LOGISTIC5, "PLCC"),
        ]
        told = [
            f"{figure}{'' if curve == RAW else f', {curve}'}\n"
            + Column(name=figure).text(found[name, POOLED, curve, figure])
            for curve, figure in figures_told
        ]
        fits = [
            ("4-parameter logistic", fit_logistic(given, found.labels, 4)),
            ("5-parameter logistic", fit_logistic(given, found.labels, 5)),
        ]
        title = f"{name}, {len(given)} images"
        written += scatter(
            given, found.labels, fits, folder / f"scatter-{stem}", title=title, told=told, unit=unit
        )
        written += bland_altman(given, found.labels, folder / f"bland-altman-{stem}", title=title, unit=unit)
    return written
