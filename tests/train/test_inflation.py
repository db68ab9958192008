"""The fold-mean trap: a curve fitted in each small fold flatters every model (docs/evaluation.md)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from train.evaluation.correlation import plcc, plcc_logistic5
from train.evaluation.folds import aggregate

FOLDS, IMAGES, REPEATS = 8, 14, 250


def _expected_raw(truth: float, n: int) -> float:
    """Mean of Pearson's r over samples of n from a normal pair (Hotelling 1953)."""
    gamma = np.exp(2 * (special.gammaln(n / 2) - special.gammaln((n - 1) / 2)))
    return float(2 / (n - 1) * gamma * truth * special.hyp2f1(0.5, 0.5, (n + 1) / 2, truth**2))


@pytest.mark.parametrize("truth, inflated", [(0.88, 0.910), (0.80, 0.861)])
def test_the_mean_of_fitted_folds_is_inflated(truth: float, inflated: float) -> None:
    """2,000 folds. The mean of raw PLCC, whose expectation is known, is a control variate: the standard error
    of what remains is below 0.0015, a quarter of the tolerance, most of which is left to how well a fit is
    searched for: a better search inflates more."""
    rng = np.random.default_rng(20)
    fold = np.repeat(np.arange(FOLDS), IMAGES)
    gains, pooled = [], []
    for _ in range(REPEATS):
        labels = rng.standard_normal(FOLDS * IMAGES)
        predicted = truth * labels + np.sqrt(1 - truth**2) * rng.standard_normal(FOLDS * IMAGES)
        fitted = aggregate(plcc_logistic5, predicted, labels, fold)
        gains += list(np.subtract(fitted.by_fold, aggregate(plcc, predicted, labels, fold).by_fold))
        pooled.append(fitted.pooled)
    assert np.std(gains) / np.sqrt(len(gains)) < 0.0015
    assert _expected_raw(truth, IMAGES) + np.mean(gains) == pytest.approx(inflated, abs=0.006)
    assert np.mean(pooled) == pytest.approx(truth, abs=0.01)
