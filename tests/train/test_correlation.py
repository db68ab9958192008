from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from train.evaluation.correlation import (
    fit_logistic,
    krocc,
    logistic,
    plcc,
    plcc_logistic4,
    plcc_logistic5,
    rmse,
    score,
    srocc,
)


def _pair(seed: int = 0, count: int = 80, truth: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.standard_normal(count)
    return truth * labels + np.sqrt(1 - truth**2) * rng.standard_normal(count), labels


def test_correlations_are_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 80).astype(float), rng.integers(0, 9, 80).astype(float)
    assert plcc(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert srocc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert krocc(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_tau_b_of_a_tied_case_by_hand() -> None:
    # six pairs: 3 concordant, 1 discordant, 1 tied on the left only, 1 tied on the right only
    predicted, labels = np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 2])
    assert krocc(predicted, labels) == pytest.approx((3 - 1) / np.sqrt((3 + 1 + 1) * (3 + 1 + 1)))


def test_srocc_averages_tied_ranks_and_the_printed_formula_would_not() -> None:
    predicted, labels = np.array([1.0, 2, 2, 2, 3]), np.array([1.0, 2, 3, 4, 5])
    ranks = np.array([1.0, 3, 3, 3, 5])
    assert srocc(predicted, labels) == pytest.approx(np.corrcoef(ranks, labels)[0, 1])
    printed = 1 - 6 * np.square(ranks - labels).sum() / (5 * (25 - 1))
    assert abs(srocc(predicted, labels) - printed) > 0.005


def test_score_is_the_sum_and_hides_the_sign() -> None:
    a, b = _pair()
    assert score(a, b) == pytest.approx(plcc(a, b) + srocc(a, b) + krocc(a, b))
    assert score(-a, b) == pytest.approx(score(a, b))


def test_rmse_divides_by_the_degrees_of_freedom() -> None:
    predicted, labels = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 8])
    assert rmse(predicted, labels) == 2
    assert rmse(predicted, labels, parameters=2) == pytest.approx(np.sqrt(16 / 2))
    assert np.isnan(rmse(predicted, labels, parameters=4))


@pytest.mark.parametrize("figure", [plcc, srocc, krocc, score, plcc_logistic4, plcc_logistic5])
def test_a_constant_side_or_two_images_have_no_correlation(figure) -> None:  # type: ignore[no-untyped-def]
    a, _ = _pair(count=20)
    assert np.isnan(figure(a, np.full(20, 3.0)))
    assert np.isnan(figure(np.full(20, 3.0), a))
    assert np.isnan(figure(a[:2], a[:2]))


@pytest.mark.parametrize("parameters", [4, 5])
@pytest.mark.parametrize("offset, scale", [(0.0, 1.0), (300.0, 0.01), (-2.0, 1e4)])
def test_the_fit_recovers_known_parameters_at_any_scale(parameters: int, offset: float, scale: float) -> None:
    x = np.random.default_rng(1).uniform(-3, 3, 120) * scale + offset
    d = 0.2 / scale if parameters == 5 else 0.0
    known = (4.0, 2.5 / scale, 0.4 * scale + offset, d, 2.0)
    found = fit_logistic(x, logistic(x, *known), parameters)
    a, b, c, d_found, e = found.a, found.b, found.c, found.d, found.e
    if b < 0:  # the same curve told the other way round
        a, b = -a, -b
    assert (a, b, c, e) == pytest.approx((known[0], known[1], known[2], known[4]), rel=1e-3, abs=1e-3)
    assert d_found == pytest.approx(d, rel=1e-3)
    assert found.plcc == pytest.approx(1) and found.parameters == parameters and found.monotone
    assert found.reason == ""


def test_the_fit_finds_a_step_that_a_single_start_misses() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, 200)
    y = (x > 0.9) + rng.normal(0, 0.02, 200)
    assert fit_logistic(x, y, 4).plcc > 0.99


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(12, 60), truth=st.floats(0, 0.99))
def test_more_parameters_never_fit_worse(seed: int, count: int, truth: float) -> None:
    predicted, labels = _pair(seed, count, truth)
    raw, four, five = (
        abs(plcc(predicted, labels)),
        plcc_logistic4(predicted, labels),
        plcc_logistic5(predicted, labels),
    )
    assert five >= raw - 1e-6
    assert four >= raw - 1e-3  # a line is the limit of ever gentler slopes


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_the_fit_does_not_care_for_the_predictions_unit(seed: int, scale: float, offset: float) -> None:
    predicted, labels = _pair(seed, 40)
    assert plcc_logistic5(predicted * scale + offset, labels) == pytest.approx(
        plcc_logistic5(predicted, labels), abs=1e-3
    )


def test_what_cannot_be_fitted_says_why() -> None:
    a, b = _pair(count=30)
    few = fit_logistic(a[:5], b[:5], 5)
    assert np.isnan(few.plcc) and np.isnan(few.rmse) and "5 images" in few.reason
    assert "constant" in fit_logistic(np.ones(30), b).reason
    coarse = fit_logistic(np.round(np.tanh(a)), b)
    assert "3 distinct" in coarse.reason and coarse.parameters == 2
    assert coarse.plcc == pytest.approx(abs(plcc(np.round(np.tanh(a)), b)))


def test_a_fit_that_does_not_converge_keeps_its_best_start(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = _pair(count=30)
    monkeypatch.setattr("train.evaluation.correlation.POLISH_EVALUATIONS", 1)
    found = fit_logistic(a, b)
    assert "not converged" in found.reason
    assert abs(plcc(a, b)) <= found.plcc <= 1


def test_a_fit_refuses_nan_and_other_counts() -> None:
    a, b = _pair(count=30)
    with pytest.raises(ValueError, match="finite"):
        fit_logistic(np.where(a > 0, np.nan, a), b)
    with pytest.raises(ValueError, match="parameters 3"):
        fit_logistic(a, b, 3)  # type: ignore[arg-type]


def test_a_falling_relation_is_fitted_and_its_sign_is_lost() -> None:
    a, b = _pair()
    assert plcc(-a, b) < 0 < plcc_logistic5(-a, b)


def test_a_fit_says_when_it_is_not_monotone() -> None:
    x = np.linspace(-3, 3, 100)
    assert not fit_logistic(x, np.sin(x * 1.3)).monotone
    assert fit_logistic(x, np.tanh(x)).monotone
