"""How far raters agree: intraclass correlations and Krippendorff's alpha, with ratings missing at will.

Ratings are an array (items, raters) with NaN where a rater did not rate. NaN comes back where a figure does
not exist: one rater, no item rated twice, every rating the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from qagate.label import Label, LabelKind, Scale

Floats = npt.NDArray[np.float64]
Ratings = npt.NDArray[np.float64]  # (items, raters), NaN: not rated
Level = Literal["nominal", "ordinal", "interval"]
QUALITY = Scale(0.0, 1.0)
NOT_A_NUMBER = float("nan")
_LEAST_SHARE = 1e-9
_WORST_CONDITION = 1e10  #: of the equations, above which the parts of the variance cannot be told apart


def table(labels: Sequence[Sequence[Label]]) -> tuple[Ratings, list[str], Scale, list[str]]:
    """(objects, raters) scores with NaN where there is none, the raters, their scale, and notes.

    Scores of several scales are put on 0 (worst) to 1 (best).
    """
    rows = [[one for one in of if one.kind is LabelKind.RATING] for of in labels]
    raters = sorted({one.rater for row in rows for one in row})
    scales = {one.scale for row in rows for one in row if one.scale is not None}
    one_scale = len(scales) == 1
    ratings = np.full((len(rows), len(raters)), np.nan)
    for number, row in enumerate(rows):
        for one in row:
            assert one.score is not None and one.scale is not None
            score = one.score if one_scale else one.scale.quality(one.score)
            ratings[number, raters.index(one.rater)] = score
    notes = []
    if len(scales) > 1:
        names = ", ".join(sorted(map(str, scales)))
        notes.append(f"ratings came on {len(scales)} scales ({names}) and were put on 0-1")
    return ratings, raters, next(iter(scales)) if one_scale else QUALITY, notes


def icc(ratings: Ratings) -> tuple[float, float]:
    """ICC(2,1) and ICC(2,k): two-way random effects, absolute agreement, of one rater and of the mean of k.

    With every rating there, the analysis-of-variance estimates of Shrout and Fleiss; with ratings missing,
    the variances of items, raters and error from the same sums of squares equated to their expectations
    (MIVQUE(0)), and k the harmonic mean of the raters an item. Estimates may fall below 0.
    Source: Shrout and Fleiss, Psychological Bulletin 86 (1979), 420-428, cases ICC(2,1) and ICC(2,k).
    """
    of_items, of_raters, error = _variances(ratings)
    noise = of_raters + error
    single, mean = of_items + noise, of_items + noise / raters_an_item(ratings)
    least = _LEAST_SHARE * (abs(of_items) + abs(noise))  # estimates may cancel to nothing, or be nothing
    return (
        of_items / single if single > least else NOT_A_NUMBER,
        of_items / mean if mean > least else NOT_A_NUMBER,
    )


def _variances(ratings: Ratings) -> tuple[float, float, float]:
    """Variances of items, raters and error under y = mean + item + rater + error.

    Quadratic forms |A'My|², |B'My|², |My|² (A, B: which item, which rater; M centres) equal their
    expectations, in which the three variances enter with the traces below.
    """
    there = (~np.isnan(ratings)).astype(float)
    n = there.sum()
    if n < 2 or np.ptp(ratings[there > 0]) == 0:
        return (NOT_A_NUMBER,) * 3
    centred = np.where(there > 0, ratings - np.nanmean(ratings), 0.0)
    rows, columns = there.sum(axis=1), there.sum(axis=0)  # ratings an item, ratings a rater
    forms = np.array([(centred.sum(axis=1) ** 2).sum(), (centred.sum(axis=0) ** 2).sum(), (centred**2).sum()])
    between = ((there - np.outer(rows, columns) / n) ** 2).sum()
    item_trace, rater_trace = n - (rows**2).sum() / n, n - (columns**2).sum() / n
    system = np.array(
        [
            [_squared(rows, n), between, item_trace],
            [between, _squared(columns, n), rater_trace],
            [item_trace, rater_trace, n - 1],
        ]
    )
    if np.linalg.cond(system) > _WORST_CONDITION:
        return (NOT_A_NUMBER,) * 3
    items, raters, error = np.linalg.solve(system, forms)
    return float(items), float(raters), float(error)


def _squared(counts: Floats, n: float) -> float:
    """Squared Frobenius norm of diag(c) - cc'/n."""
    return float((counts**2).sum() - 2 * (counts**3).sum() / n + ((counts**2).sum() / n) ** 2)


def raters_an_item(ratings: Ratings) -> float:
    """Harmonic mean over the items that anyone rated; the k of ICC(2,k)."""
    count = (~np.isnan(ratings)).sum(axis=1)
    count = count[count > 0]
    return float(len(count) / (1 / count).sum()) if len(count) else NOT_A_NUMBER


def alpha(ratings: Ratings, level: Level) -> float:
    """Krippendorff's alpha, 1 - observed / expected disagreement, of items rated twice or more.

    The disagreement of two scores is 0 or 1 (nominal), their squared difference (interval), or the squared
    difference of their mid-ranks among all scores, which is the ordinal metric written another way.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section E.
    """
    there = ~np.isnan(ratings)
    paired = there.sum(axis=1) > 1
    there = there[paired]
    if not there.any():
        return NOT_A_NUMBER
    scores = ratings[paired][there]  # (n,), item by item
    if np.ptp(scores) == 0:
        return NOT_A_NUMBER
    count = there.sum(axis=1)
    item = np.repeat(np.arange(len(count)), count)
    points = _points(scores, level)  # (n, dimensions)
    means = np.stack([np.bincount(item, column) / count for column in points.T], axis=1)
    within = np.bincount(item, ((points - means[item]) ** 2).sum(axis=1))
    # Squared distances of all ordered pairs of m points sum to 2 m times those to their mean.
    observed = (2 * count * within / (count - 1)).sum() / len(scores)
    expected = 2 * ((points - points.mean(axis=0)) ** 2).sum() / (len(scores) - 1)
    return float(1 - observed / expected)


def _points(scores: Floats, level: Level) -> npt.NDArray[np.float64]:
    """Points whose squared distances are the level's disagreement, up to a factor."""
    if level == "interval":
        return scores[:, None]
    if level == "ordinal":
        return np.asarray(stats.rankdata(scores), float)[:, None]
    return np.asarray(scores[:, None] == np.unique(scores), float)
