"""Several raters become one opinion: mean opinion score, z-scores, and screening of observers after BT.500.

Ratings are an array (items, raters) with NaN where a rater did not rate. Agreement stands in `agreement`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Ratings = npt.NDArray[np.float64]  # (items, raters), NaN: not rated
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int_]

NORMAL_KURTOSIS = (2.0, 4.0)  #: within it ratings of an item count as normal
OUTLYING = 2.0  #: standard deviations from the mean, for normal ratings
OUTLYING_OTHERWISE = 20**0.5  #: the same for others
REJECT_SHARE = 0.05  #: of outlying ratings, above which a rater may be rejected
REJECT_BALANCE = 0.3  #: |high - low| / (high + low), below which the rater is erratic and not only severe
SCREENED_FROM = 6  #: ratings of an item, below which none can lie 2 standard deviations off


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How ratings become opinions."""

    reject: bool = True  #: leave out raters that the screening rejects
    z_score: bool = False  #: put every rater on one mean and spread; right only where all saw like images


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What the screening saw of each rater, (raters,) each."""

    high: Counts  #: P, ratings above the item's mean by the allowed distance or more
    low: Counts  #: Q, the same below
    rated: Counts  #: items rated
    rejected: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """The opinions of the kept raters, (items,) each; NaN where nobody is left."""

    mos: Floats
    deviation: Floats  #: standard deviation over raters; NaN for one rater
    half_width: Floats  #: of the 95 % interval, 1.96 · deviation / √raters; NaN for one rater
    raters: Counts
    kept: Flags  #: (raters,)


def screen(ratings: Ratings) -> Screening:
    """Find erratic raters: too many ratings far off, and on both sides.

    An item's ratings count as normal where their kurtosis m4 / m2² lies in [2, 4]. A rating is outlying from
    2 standard deviations off the item's mean, from √20 where they are not normal. A rater is rejected when
    more than 5 % of his ratings are outlying and they lie about as often above as below: |P - Q| / (P + Q)
    < 0.3. Severe or lenient raters are kept. It is meant for fewer than 20 observers who are no experts, to
    be applied once. Of n ratings none lies farther off than (n - 1) / √n standard deviations: with fewer than
    6 nobody can be rejected, and with fewer than 22 not he who alone is far off among raters who agree, for
    he makes the kurtosis large. `follows` sees him.

    Source: ITU-R BT.500-15, screening of the observers by the kurtosis test.
    """
    count = (~np.isnan(ratings)).sum(axis=1)
    ratings = np.where((count >= 2)[:, None], ratings, np.nan)
    centred = ratings - _mean(ratings)[:, None]
    second, fourth = _mean(centred**2), _mean(centred**4)
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = fourth / second**2
        deviation = np.sqrt(second * count / (count - 1))
    low, high = NORMAL_KURTOSIS
    allowed = np.where((kurtosis >= low) & (kurtosis <= high), OUTLYING, OUTLYING_OTHERWISE) * deviation
    differ = _differ(ratings)[:, None]  # equal ratings deviate by nothing, and nothing is allowed to them
    above = ((centred >= allowed[:, None]) & differ).sum(axis=0)
    below = ((centred <= -allowed[:, None]) & differ).sum(axis=0)
    rated = (~np.isnan(ratings)).sum(axis=0)
    outlying = above + below
    erratic = np.abs(above - below) < REJECT_BALANCE * outlying
    return Screening(high=above, low=below, rated=rated, rejected=(outlying > REJECT_SHARE * rated) & erratic)


def z_scores(ratings: Ratings) -> Ratings:
    """Each rating as standard deviations from its rater's mean; NaN for a rater of one score only.

    Source: ITU-R BT.500-15, normalisation of scores by each observer's mean and standard deviation.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (ratings - _mean(ratings.T)) / _deviation(ratings.T)
    return np.asarray(np.where(_differ(ratings.T), z, np.nan))


def on_one_scale(ratings: Ratings) -> Ratings:
    """z-scores put back to the raters' scale: every rater gets the mean and the spread of the average rater.

    Raters whose only score is constant become NaN: they tell no image from another.
    """
    z = z_scores(ratings)
    telling = ~np.isnan(z).all(axis=0)
    if not telling.any():
        return z
    means, deviations = _mean(ratings.T)[telling], _deviation(ratings.T)[telling]
    return np.asarray(z * np.sqrt((deviations**2).mean()) + means.mean())


def opinions(ratings: Ratings, scoring: Scoring | None = None) -> Opinions:
    """The mean opinion score of each item, after screening and z-scoring where `scoring` asks for them.

    Source: ITU-R BT.500-15, calculation of mean scores and of confidence intervals.
    """
    scoring = scoring or Scoring()
    kept = ~screen(ratings).rejected if scoring.reject else np.ones(ratings.shape[1], bool)
    used = ratings[:, kept]
    if scoring.z_score:
        used = on_one_scale(used)
        kept[kept] = ~np.isnan(used).all(axis=0)
    raters = (~np.isnan(used)).sum(axis=1)
    deviation = _deviation(used)
    with np.errstate(invalid="ignore", divide="ignore"):
        half_width = 1.96 * deviation / np.sqrt(raters)
    return Opinions(mos=_mean(used), deviation=deviation, half_width=half_width, raters=raters, kept=kept)


def bias(ratings: Ratings) -> Floats:
    """(raters,) how much each rates above the others' median of the same items; NaN where alone."""
    return _mean((ratings - _of_the_others(ratings)).T)


def follows(ratings: Ratings) -> Floats:
    """(raters,) Spearman's correlation of each with the others' median; NaN for fewer than 3 shared items."""
    others = _of_the_others(ratings)
    found = np.full(ratings.shape[1], np.nan)
    for rater in range(ratings.shape[1]):
        there = ~np.isnan(ratings[:, rater]) & ~np.isnan(others[:, rater])
        mine, theirs = ratings[there, rater], others[there, rater]
        if there.sum() >= 3 and np.ptp(mine) > 0 and np.ptp(theirs) > 0:
            found[rater] = stats.spearmanr(mine, theirs).statistic
    return found


def _of_the_others(ratings: Ratings) -> Ratings:
    """(items, raters) the median of everybody else's ratings of the item, which no one can move far."""
    found = np.full(ratings.shape, np.nan)
    for rater in range(ratings.shape[1]):
        others = np.delete(ratings, rater, axis=1)
        shared = ~np.isnan(others).all(axis=1)
        found[shared, rater] = np.nanmedian(others[shared], axis=1)
    return found


def _differ(rows: Floats) -> Flags:
    """Whether a row holds two different values; rounding gives equal ones a deviation."""
    there = ~np.isnan(rows)
    most = np.max(rows, axis=1, where=there, initial=-np.inf)
    return np.asarray(np.min(rows, axis=1, where=there, initial=np.inf) < most)


def _mean(rows: Floats) -> Floats:
    """Mean of each row over what is there; NaN for an empty one, without a warning."""
    there = ~np.isnan(rows)
    count = there.sum(axis=1)
    total = np.where(there, rows, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0))


def _deviation(rows: Floats) -> Floats:
    """Standard deviation of each row with n - 1; NaN for fewer than two."""
    count = (~np.isnan(rows)).sum(axis=1)
    squares = np.nansum((rows - _mean(rows)[:, None]) ** 2, axis=1)
    found = np.divide(squares, count - 1, out=np.full(len(rows), np.nan), where=count > 1)
    return np.asarray(np.sqrt(found))
