"""Agreement of predictions with labels: PLCC, SROCC, KROCC, Score, RMSE, and PLCC after a logistic fit.

Every function takes two vectors (N,) and answers NaN where a figure does not exist: fewer than three images,
or one side constant. Intervals and tests stand in `significance`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

Floats = npt.NDArray[np.float64]

NOT_A_NUMBER = float("nan")
SLOPES = 2.0 ** np.arange(
    -4, 6
)  #: of the starts, in 1 / standard deviation of the predictions; 1/16 is a line
CENTRES = np.linspace(0, 1, 21)  #: of the starts, as quantiles of the predictions
POLISH_EVALUATIONS = 200  #: after which a creeping fit keeps its best start
POLISH_TOLERANCE = 1e-7  #: relative gain in squared error, below which the fit has converged


def plcc(predicted: Floats, labels: Floats) -> float:
    """Pearson's correlation of the raw values, -1 to 1; NaN when either side is constant.

    Source: MIQANet, section II-C, equation 1; ClinReadNet, equation 31.
    """
    return _correlation(predicted, labels)


def srocc(predicted: Floats, labels: Floats) -> float:
    """Spearman's rank correlation, -1 to 1, ties averaged; NaN when either side is constant.

    The papers print 1 - 6 Σd² / (N (N² - 1)), which is right only without ties.
    Source: MIQANet, section II-C, equation 2; ClinReadNet, equation 32.
    """
    return _correlation(stats.rankdata(predicted), stats.rankdata(labels))


def krocc(predicted: Floats, labels: Floats) -> float:
    """Kendall's tau-b, -1 to 1, corrected for ties on either side; NaN when either side is constant.

    Source: ClinReadNet, equation 33 (with its two kinds of ties told apart).
    """
    if not _varied(predicted, labels):
        return NOT_A_NUMBER
    return float(stats.kendalltau(predicted, labels, variant="b").statistic)


def score(predicted: Floats, labels: Floats) -> float:
    """|PLCC| + |SROCC| + |KROCC|, 0 to 3, as the LDCTIQA challenge ranks; it hides the sign.

    Source: ClinReadNet, equation 34.
    """
    return abs(plcc(predicted, labels)) + abs(srocc(predicted, labels)) + abs(krocc(predicted, labels))


def rmse(predicted: Floats, labels: Floats, parameters: int = 0) -> float:
    """Root of Σ error² / (N - parameters), in the labels' unit; NaN unless N exceeds the parameters.

    parameters: how many were fitted on these very labels; 0 for predictions as they are.
    """
    freedom = len(labels) - parameters
    if freedom <= 0:
        return NOT_A_NUMBER
    return float(np.sqrt(np.square(np.asarray(predicted) - np.asarray(labels)).sum() / freedom))


def plcc_logistic4(predicted: Floats, labels: Floats) -> float:
    """PLCC after the 4-parameter logistic, 0 to 1: see `fit_logistic`."""
    return fit_logistic(predicted, labels, 4).plcc


def plcc_logistic5(predicted: Floats, labels: Floats) -> float:
    """PLCC after the 5-parameter logistic, 0 to 1: see `fit_logistic`."""
    return fit_logistic(predicted, labels, 5).plcc


def _varied(a: Floats, b: Floats) -> bool:
    return len(a) >= 3 and np.ptp(a) != 0 and np.ptp(b) != 0


def _correlation(a: Floats, b: Floats) -> float:
    if not _varied(a, b):
        return NOT_A_NUMBER
    return float(np.corrcoef(a, b)[0, 1])


def logistic(x: Floats, a: float, b: float, c: float, d: float, e: float) -> Floats:
    """a (1/2 - 1 / (1 + exp(b (x - c)))) + d x + e; d = 0 makes it the 4-parameter one."""
    return np.asarray(a * (special.expit(b * (x - c)) - 0.5) + d * x + e)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The curve that carries predictions to the labels' scale by least squares. Call it on predictions.

    Its PLCC is never negative, for the curve may fall: look at the raw PLCC's sign too.
    """

    a: float
    b: float
    c: float
    d: float
    e: float
    parameters: int  #: how many were fitted: 5, 4, 2 (a straight line) or 0 (nothing)
    plcc: float  #: of labels and curve on the images fitted
    rmse: float  #: with N - parameters degrees of freedom
    monotone: bool  #: whether the curve keeps (or turns round) the order of these predictions
    reason: str = ""  #: why the fit is not the one asked for, or is a start that could not be bettered

    def __call__(self, predicted: Floats) -> Floats:
        return logistic(np.asarray(predicted, float), self.a, self.b, self.c, self.d, self.e)


def fit_logistic(predicted: Floats, labels: Floats, parameters: Literal[4, 5] = 5) -> Fit:
    """Fit `logistic` to labels (N,) from predictions (N,), with or without its linear term.

    The best of SLOPES x CENTRES, the other parameters solved exactly at each, starts Levenberg-Marquardt. No
    fit raises: without data the answer is NaN, with fewer distinct predictions than parameters a straight
    line, where the polish does not converge the best start; `Fit.reason` says which.

    Source: MIQANet, section II-C (five-parameter modified logistic function).
    Raises ValueError for another number of parameters or values that are not finite.
    """
    x, y = np.asarray(predicted, float), np.asarray(labels, float)
    if parameters not in (4, 5):
        raise ValueError(f"parameters {parameters}: expected 4 or 5")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("predictions and labels to fit must be finite")
    if len(x) <= parameters:
        return _nothing(f"{len(x)} images cannot determine {parameters} parameters")
    if not _varied(x, y):
        return _nothing("predictions or labels are constant")
    mean, scale = float(x.mean()), float(x.std())
    z = (x - mean) / scale
    if (distinct := len(np.unique(x))) < parameters:
        line = np.polynomial.Polynomial.fit(z, y, 1).convert().coef
        found = np.array([0.0, 1.0, 0.0, line[1], line[0]])
        why = f"{distinct} distinct predictions cannot determine {parameters} parameters: a straight line"
        return _fit(x, y, _unscaled(found, mean, scale), 2, why)
    start = _best_start(z, y, parameters)
    polished = _polish(z, y, start, parameters)
    reason = "" if polished is not None else "not converged: the best start is kept"
    return _fit(x, y, _unscaled(start if polished is None else polished, mean, scale), parameters, reason)


def _nothing(reason: str) -> Fit:
    nan = NOT_A_NUMBER
    return Fit(
        a=nan, b=nan, c=nan, d=nan, e=nan, parameters=0, plcc=nan, rmse=nan, monotone=False, reason=reason
    )


def _fit(x: Floats, y: Floats, found: Floats, parameters: int, reason: str) -> Fit:
    a, b, c, d, e = map(float, found)
    curve = logistic(x, a, b, c, d, e)
    steps = np.diff(curve[np.argsort(x)])
    slack = 1e-9 * float(np.ptp(curve))
    return Fit(
        a=a, b=b, c=c, d=d, e=e, parameters=parameters, reason=reason,
        plcc=plcc(curve, y), rmse=rmse(curve, y, parameters),
        monotone=bool((steps >= -slack).all() or (steps <= slack).all()),
    )  # fmt: skip


def _unscaled(found: Floats, mean: float, scale: float) -> Floats:
    """Parameters for standardised predictions -> for predictions as they are."""
    a, b, c, d, e = found
    return np.array([a, b / scale, mean + c * scale, d / scale, e - d * mean / scale])


def _best_start(z: Floats, y: Floats, parameters: int) -> Floats:
    """(a, b, c, d, e) of least squares over the grid of slopes b and centres c."""
    slopes, centres = (g.ravel() for g in np.meshgrid(SLOPES, np.quantile(z, CENTRES)))
    curves = special.expit(slopes[:, None] * (z - centres[:, None])) - 0.5  # (starts, N)
    rest, wanted = curves - curves.mean(axis=1, keepdims=True), y - y.mean()
    if parameters == 5:  # the linear term explains its part first
        rest = rest - (rest @ z / (z @ z))[:, None] * z
        wanted = wanted - (wanted @ z / (z @ z)) * z
    power = np.square(rest).sum(axis=1)
    explained = np.where(power > 1e-9 * len(z), (rest @ wanted) ** 2 / np.maximum(power, 1e-300), 0)
    best = int(np.argmax(explained))
    columns = [curves[best], np.ones_like(z)] + ([z] if parameters == 5 else [])
    (a, e, *d), *_ = np.linalg.lstsq(np.stack(columns, axis=1), y, rcond=None)
    return np.array([a, slopes[best], centres[best], d[0] if d else 0.0, e])


def _polish(z: Floats, y: Floats, start: Floats, parameters: int) -> Floats | None:
    """Levenberg-Marquardt from a start; None where it does not converge or does not get better."""
    free = [0, 1, 2, 3, 4] if parameters == 5 else [0, 1, 2, 4]

    def curve(x: Floats, *values: float) -> Floats:
        return logistic(x, *_whole(values, free))

    def slopes(x: Floats, *values: float) -> Floats:
        a, b, c, _, _ = _whole(values, free)
        s = special.expit(b * (x - c))
        bend = a * s * (1 - s)
        return np.stack([s - 0.5, bend * (x - c), -b * bend, x, np.ones_like(x)], axis=1)[:, free]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the covariance, which nobody reads, may not exist
            values, _ = optimize.curve_fit(
                curve, z, y, start[free], jac=slopes, maxfev=POLISH_EVALUATIONS, ftol=POLISH_TOLERANCE
            )
    except RuntimeError:
        return None
    found = _whole(values, free)
    before, after = (np.square(logistic(z, *p) - y).sum() for p in (start, found))
    return found if np.isfinite(found).all() and after <= before else None


def _whole(values: npt.ArrayLike, free: list[int]) -> Floats:
    whole = np.zeros(5)
    whole[free] = values
    return whole
