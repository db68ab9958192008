"""What runs of several rows and seeds are worth: figures, and differences between rows, with intervals.

Units (patients, references) and seeds are both drawn with replacement, the same ones for every row, so a
difference is paired over cases and seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from train.evaluation.correlation import Floats
from train.evaluation.significance import CONFIDENCE, RESAMPLES, Interval

FIGURES = ("srocc", "plcc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """Of R rows."""

    figures: tuple[dict[str, Interval], ...]  #: figure -> mean over seeds
    differences: tuple[dict[str, Interval], ...]  #: the same, less the full system's
    by_seed: tuple[dict[str, tuple[float, ...]], ...]  #: figure -> of each seed


def estimate(
    predicted: Floats,
    labels: Floats,
    units: npt.ArrayLike,
    full: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimates:
    """Mean over seeds of each figure on the pooled held-out predictions, and its percentile interval.

    predicted: (R, S, N) of R rows and S seeds, NaN where a seed's folds test a case not, in all rows alike.
    labels: (N,). units: (N,) name of what is drawn whole. full: the row that the others are compared with.
    Predictions that are all alike order nothing and count as a correlation of 0; draws whose labels are all
    alike are left out.
    Source: Owen 2007, "The pigeonhole bootstrap" (rows and columns of a crossed design drawn independently).
    Raises ValueError for rows that tested other cases than the full one.
    """
    if (np.isnan(predicted) != np.isnan(predicted[full])).any():
        raise ValueError("rows were tested on different cases with one seed; give them one recipe of folds")
    found = np.array([_both(predicted[:, s], labels) for s in range(predicted.shape[1])])  # (S, figures, R)
    drawn = _drawn(predicted, labels, np.asarray(units), resamples, np.random.default_rng(seed))

    def intervals(of: Callable[[Floats], Floats]) -> tuple[dict[str, Interval], ...]:
        values, draws = of(found.mean(axis=0)), of(drawn)  # (figures, R), (B, figures, R)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.quantile(draws, tails, axis=0) if len(draws) else np.full((2, *values.shape), np.nan)
        return tuple(
            {
                name: Interval(value=float(values[f, r]), low=float(low[f, r]), high=float(high[f, r]),
                               confidence=confidence)
                for f, name in enumerate(FIGURES)
            }
            for r in range(len(predicted))
        )  # fmt: skip

    return Estimates(
        figures=intervals(lambda values: values),
        differences=intervals(lambda values: values - values[..., full : full + 1]),
        by_seed=tuple(
            {name: tuple(map(float, found[:, f, r])) for f, name in enumerate(FIGURES)}
            for r in range(len(predicted))
        ),
    )


def _drawn(
    predicted: Floats,
    labels: Floats,
    units: npt.NDArray[np.generic],
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """(B, figures, R); B is smaller than asked where draws had constant labels, 0 for a single unit."""
    members = [np.flatnonzero(units == name) for name in np.unique(units)]
    seeds = predicted.shape[1]
    found = []
    for _ in range(resamples if len(members) > 1 else 0):
        rows = np.concatenate([members[unit] for unit in rng.integers(len(members), size=len(members))])
        times = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds)
        parts = [times[s] * _both(predicted[:, s, rows], labels[rows]) for s in np.flatnonzero(times)]
        total = np.sum(parts, axis=0) / seeds
        if np.isfinite(total).all():
            found.append(total)
    return np.array(found)


def _both(predicted: Floats, labels: Floats) -> Floats:
    """(R, N) and (N,) -> SROCC and PLCC of each row, (2, R); NaN where the labels tested are all alike."""
    tested = ~np.isnan(predicted[0])
    predicted, labels = predicted[:, tested], labels[tested]
    ranks = stats.rankdata(predicted, axis=1), stats.rankdata(labels)
    return np.stack([_correlations(*ranks), _correlations(predicted, labels)])


def _correlations(a: Floats, b: Floats) -> Floats:
    """(R, N), (N,) -> (R,)."""
    if len(b) < 3 or np.ptp(b) == 0:
        return np.full(len(a), np.nan)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean()
    size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum())
    varied = np.ptp(a, axis=1) > 0
    return np.asarray(np.divide(a @ b, size, out=np.zeros(len(a)), where=varied & (size > 0)))
