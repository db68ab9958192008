"""How sure a figure is and whether two models differ: bootstrap intervals, P.1401's F-test, residual tests.

All tests compare two models on the same images. None corrects for many comparisons: the caller divides the
level by their number where it makes several.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from train.evaluation.correlation import NOT_A_NUMBER, Floats

Rows = npt.NDArray[np.int_]

LEVEL = 0.05  #: below which a p counts as significant
CONFIDENCE = 0.95  #: of an interval
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and where it may lie; low and high are NaN where no interval could be had."""

    value: float
    low: float
    high: float
    confidence: float = CONFIDENCE

    def excludes(self, value: float) -> bool:
        return value < self.low or value > self.high


def bootstrap(
    figures: Callable[[Rows], Sequence[float] | Floats],
    rows: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[Interval]:
    """Percentile interval of each figure that `figures` computes from the numbers of the chosen rows.

    Rows are drawn with replacement, or whole groups where their names (rows,) are given: images of one
    patient are no independent evidence. What `figures` returns together comes from the same draws, so a
    difference of two models is paired. A draw whose figure is NaN (constant labels) does not count for that
    figure. Fewer than two units leave low and high NaN.
    """
    units = [np.array([row]) for row in range(rows)]
    if groups is not None:
        names = np.asarray(groups)
        if names.shape != (rows,):
            raise ValueError(f"groups have shape {names.shape}; expected ({rows},)")
        units = [np.flatnonzero(names == name) for name in np.unique(names)]

    def of(chosen: Rows) -> Floats:
        drawn = np.concatenate([units[unit] for unit in chosen])
        return np.asarray(figures(drawn), float)

    values = np.asarray(figures(np.arange(rows)), float)
    low = high = np.full(len(values), NOT_A_NUMBER)
    if len(units) > 1:
        drawn = _distribution(of, len(units), resamples, seed)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.array([_quantiles(one, tails) for one in drawn]).T
    return [
        Interval(value=float(v), low=float(lo), high=float(hi), confidence=confidence)
        for v, lo, hi in zip(values, low, high, strict=True)
    ]


def _distribution(of: Callable[[Rows], Floats], units: int, resamples: int, seed: int) -> Floats:
    """(figures, resamples)."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # NaN draws; bootstrap() leaves them out
        found = stats.bootstrap(
            (np.arange(units),), of, vectorized=False, n_resamples=resamples, method="percentile",
            rng=np.random.default_rng(seed),
        )  # fmt: skip
    return np.asarray(found.bootstrap_distribution)


def _quantiles(drawn: Floats, tails: list[float]) -> Floats:
    there = drawn[~np.isnan(drawn)]
    return np.quantile(there, tails) if len(there) else np.full(2, NOT_A_NUMBER)


def bootstrap_difference(
    figure: Callable[[Floats, Floats], float],
    a: Floats,
    b: Floats,
    labels: Floats,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Paired bootstrap of figure(a, labels) - figure(b, labels); the models differ where it excludes 0."""
    (found,) = bootstrap(
        lambda rows: [figure(a[rows], labels[rows]) - figure(b[rows], labels[rows])], len(labels),
        groups=groups, resamples=resamples, confidence=confidence, seed=seed,
    )  # fmt: skip
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FTest:
    """Whether the larger of two squared RMSEs exceeds the smaller by more than chance."""

    ratio: float  #: F, the larger over the smaller, >= 1
    critical: float  #: what F must exceed at `level`, one-sided as in P.1401
    p: float  #: one-sided; since the larger is put on top, twice this where no model was expected to win
    freedom: int  #: N - d, on either side
    level: float

    @property
    def significant(self) -> bool:
        return self.ratio > self.critical


def f_test(rmse_a: float, rmse_b: float, images: int, *, parameters: int = 0, level: float = LEVEL) -> FTest:
    """F = larger RMSE² / smaller RMSE² on (N - d, N - d) degrees of freedom.

    parameters: d, how many the fit before the RMSE took. The test takes the two models' errors for
    independent and normal; on the same images they are mostly correlated, which makes it miss differences,
    not invent them. Two RMSEs of 0 give F = 1. NaN in, NaN out.

    Source: ITU-T P.1401, 7.6.4 (significance of the difference between the root mean square errors).
    Raises ValueError for a negative RMSE or no degrees of freedom.
    """
    if rmse_a < 0 or rmse_b < 0:
        raise ValueError(f"RMSEs {rmse_a} and {rmse_b}: expected values of 0 or more")
    low, high = np.minimum(rmse_a, rmse_b) ** 2.0, np.maximum(rmse_a, rmse_b) ** 2.0
    ratio = high / low if low else float("inf")
    return _f(1.0 if low == high else ratio, images - parameters, level)


def f_test_from_plcc(
    plcc_a: float, plcc_b: float, images: int, *, parameters: int = 0, level: float = LEVEL
) -> FTest:
    """The same from two printed PLCCs: F = (1 - r1²) / (1 - r2²), as RMSE² = variance · (1 - r²) after a fit.

    Raises ValueError for a PLCC outside [-1, 1] or no degrees of freedom.
    """
    for r in (plcc_a, plcc_b):
        if abs(r) > 1:
            raise ValueError(f"PLCC {r}: expected a value in [-1, 1]")
    return f_test((1 - plcc_a**2) ** 0.5, (1 - plcc_b**2) ** 0.5, images, parameters=parameters, level=level)


def _f(ratio: float, freedom: int, level: float) -> FTest:
    if freedom <= 0:
        raise ValueError(f"N - d is {freedom}: expected at least 1 degree of freedom")
    law = stats.f(freedom, freedom)
    return FTest(
        ratio=ratio, critical=float(law.isf(level)), p=float(law.sf(ratio)), freedom=freedom, level=level
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualTest:
    """Whether two models' absolute errors differ: once as if independent, once image by image."""

    normal_p_a: float  #: Shapiro-Wilk on a's absolute errors
    normal_p_b: float
    test: str  #: "t" where both may be normal, else "Mann-Whitney U"
    statistic: float
    p: float  #: two-sided, of `test`
    wilcoxon: float  #: signed-rank statistic of the paired differences
    wilcoxon_p: float  #: two-sided; the one to trust, for the images are the same
    median_difference: float  #: of |error a| - |error b|, in the labels' unit; negative where a errs less
    level: float

    @property
    def significant(self) -> bool:
        return self.p < self.level

    @property
    def significant_paired(self) -> bool:
        return self.wilcoxon_p < self.level


def residual_test(a: Floats, b: Floats, labels: Floats, *, level: float = LEVEL) -> ResidualTest:
    """Compare |labels - a| with |labels - b|, all (N,) on the labels' scale, N >= 3.

    As the paper writes: Shapiro-Wilk on each, then the t-test for independent samples if both may be normal,
    else Mann-Whitney U. Absolute errors are hardly ever normal, and the two are measured on the same images,
    so Wilcoxon's signed-rank test of the pairs stands beside it.

    Source: MIQANet, section IV-E, residual-based hypothesis testing (HT_Res).
    Raises ValueError for different lengths, fewer than 3 images or values that are not finite.
    """
    errors_a, errors_b = _absolute(a, labels), _absolute(b, labels)
    normal = [_normal(errors) for errors in (errors_a, errors_b)]
    if min(normal) > level:
        name, found = "t", stats.ttest_ind(errors_a, errors_b)
    else:
        name, found = "Mann-Whitney U", stats.mannwhitneyu(errors_a, errors_b)
    differences = errors_a - errors_b
    signed, signed_p = 0.0, 1.0  # equal everywhere
    if differences.any():
        paired = stats.wilcoxon(differences)
        signed, signed_p = float(paired.statistic), float(paired.pvalue)
    return ResidualTest(
        normal_p_a=normal[0], normal_p_b=normal[1], test=name, level=level,
        statistic=float(found.statistic), p=float(found.pvalue), wilcoxon=signed, wilcoxon_p=signed_p,
        median_difference=float(np.median(differences)),
    )  # fmt: skip


def _absolute(predicted: Floats, labels: Floats) -> Floats:
    predicted, labels = np.asarray(predicted, float), np.asarray(labels, float)
    if predicted.shape != labels.shape or predicted.ndim != 1 or len(labels) < 3:
        raise ValueError(
            f"predictions {predicted.shape}, labels {labels.shape}: expected vectors of one length >= 3"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(labels).all()):
        raise ValueError("predictions and labels must be finite")
    return np.abs(labels - predicted)


def _normal(errors: Floats) -> float:
    """p of Shapiro-Wilk; 0 for constant errors, which no normal law gives."""
    return float(stats.shapiro(errors).pvalue) if np.ptp(errors) else 0.0
