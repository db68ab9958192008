"""How far raters agree, each figure with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qagate.gate.agreement import NOT_A_NUMBER, Ratings, alpha, icc, raters_an_item
from train.evaluation.significance import RESAMPLES, Interval, Rows, bootstrap


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement with 95 % bootstrap intervals over the items."""

    icc_single: Interval  #: ICC(2,1): how far one rater's score stands for any rater's
    icc_mean: Interval  #: ICC(2,k): how far the mean of k raters does
    alpha_interval: Interval  #: Krippendorff's alpha of the scores
    alpha_ordinal: Interval  #: of their order only
    items: int  #: rated by two raters or more
    raters: int
    k: float  #: raters an item, harmonic mean; the k of ICC(2,k)


def agreement(ratings: Ratings, *, resamples: int = RESAMPLES, seed: int = 0) -> Agreement:
    """All figures of a set of ratings; whole items are drawn with replacement for the intervals."""
    ratings = ratings[:, ~np.isnan(ratings).all(axis=0)]
    ratings = ratings[~np.isnan(ratings).all(axis=1)]

    def figures(rows: Rows) -> list[float]:
        drawn = ratings[rows]
        return [*icc(drawn), alpha(drawn, "interval"), alpha(drawn, "ordinal")]

    if len(ratings):
        found = bootstrap(figures, len(ratings), resamples=resamples, seed=seed)
    else:
        found = [Interval(value=NOT_A_NUMBER, low=NOT_A_NUMBER, high=NOT_A_NUMBER)] * 4
    return Agreement(
        icc_single=found[0],
        icc_mean=found[1],
        alpha_interval=found[2],
        alpha_ordinal=found[3],
        items=int(((~np.isnan(ratings)).sum(axis=1) > 1).sum()),
        raters=ratings.shape[1],
        k=raters_an_item(ratings),
    )
