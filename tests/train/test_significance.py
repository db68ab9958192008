from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from train.evaluation.correlation import plcc, rmse
from train.evaluation.significance import (
    bootstrap,
    bootstrap_difference,
    f_test,
    f_test_from_plcc,
    residual_test,
)


def _pair(rng: np.random.Generator, count: int, truth: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.standard_normal(count)
    return truth * labels + np.sqrt(1 - truth**2) * rng.standard_normal(count), labels


def test_miqanet_is_not_significantly_better_than_maniqa() -> None:
    found = f_test_from_plcc(0.9320, 0.9147, 112)
    assert found.ratio == pytest.approx(1.243, abs=5e-4)
    assert found.critical == pytest.approx(1.37, abs=5e-3)
    assert found.p == pytest.approx(0.13, abs=5e-3)
    assert not found.significant
    fitted = f_test_from_plcc(0.9147, 0.9320, 112, parameters=5)
    assert fitted.freedom == 107 and fitted.p == pytest.approx(0.13, abs=5e-3) and not fitted.significant
    assert f_test_from_plcc(0.9320, 0.7048, 112).significant  # its next row, ResNet34, is far enough


def test_f_test_is_scipys_and_symmetric() -> None:
    found = f_test(0.5, 0.7, 40, parameters=5)
    assert found.p == pytest.approx(stats.f.sf((0.7 / 0.5) ** 2, 35, 35))
    assert found == f_test(0.7, 0.5, 40, parameters=5)
    assert found.significant == (found.p < 0.05)


def test_f_test_at_its_edges() -> None:
    assert f_test(0, 0, 10).p == pytest.approx(0.5)
    assert f_test(0, 1, 10).significant
    assert np.isnan(f_test(float("nan"), 0, 10).p) and not f_test(0, float("nan"), 10).significant
    with pytest.raises(ValueError, match="degree"):
        f_test(1, 2, 5, parameters=5)
    with pytest.raises(ValueError, match="RMSE"):
        f_test(-1, 2, 5)
    with pytest.raises(ValueError, match="PLCC"):
        f_test_from_plcc(1.2, 0.9, 100)


def test_f_test_from_plcc_is_that_on_rmse_after_a_line() -> None:
    rng = np.random.default_rng(0)
    a, labels = _pair(rng, 90, 0.9)
    b = 0.8 * labels + 0.6 * rng.standard_normal(90)
    errors = [rmse(np.polyval(np.polyfit(x, labels, 1), x), labels, 2) for x in (a, b)]
    direct = f_test(*errors, 90, parameters=2)
    assert f_test_from_plcc(plcc(a, labels), plcc(b, labels), 90, parameters=2).ratio == pytest.approx(
        direct.ratio
    )


def test_residuals_pick_the_test_by_normality() -> None:
    rng = np.random.default_rng(3)
    labels = np.zeros(60)
    normal_a, normal_b = 10 + rng.standard_normal(60), 11 + rng.standard_normal(60)
    found = residual_test(normal_a, normal_b, labels)
    assert found.test == "t" and found.significant and found.median_difference < 0
    assert found.p == pytest.approx(stats.ttest_ind(normal_a, normal_b).pvalue)
    skewed = rng.exponential(1, 60)
    found = residual_test(skewed, normal_b, labels)
    assert found.test == "Mann-Whitney U"
    assert found.p == pytest.approx(stats.mannwhitneyu(skewed, normal_b).pvalue)


def test_the_paired_test_sees_what_the_independent_one_misses() -> None:
    rng = np.random.default_rng(4)
    hard = rng.exponential(1, 112)  # what makes an image hard makes it so for both models
    found = residual_test(hard, hard + 0.05 + 0.02 * rng.random(112), np.zeros(112))
    assert not found.significant and found.significant_paired


def test_equal_models_do_not_differ() -> None:
    labels = np.arange(20.0)
    found = residual_test(labels + 1, labels + 1, labels)
    assert found.wilcoxon_p == 1 and not found.significant and not found.significant_paired


def test_residuals_refuse_what_is_no_pair() -> None:
    with pytest.raises(ValueError, match="one length"):
        residual_test(np.zeros(4), np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match="finite"):
        residual_test(np.full(4, np.nan), np.zeros(4), np.zeros(4))


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for number in range(200):
        a, b = _pair(rng, 60, 0.8)
        (found,) = bootstrap(lambda rows, a=a, b=b: [plcc(a[rows], b[rows])], 60, resamples=200, seed=number)
        covered += found.low < 0.8 < found.high
    assert 0.89 <= covered / 200 <= 0.985  # 0.95 less a little at 60 images; standard error 0.017


def test_bootstrap_repeats_with_its_seed_only() -> None:
    a, b = _pair(np.random.default_rng(6), 50, 0.7)

    def draw(seed: int) -> tuple[float, float]:
        (found,) = bootstrap(lambda rows: [plcc(a[rows], b[rows])], 50, resamples=100, seed=seed)
        return found.low, found.high

    assert draw(1) == draw(1) != draw(2)


def test_whole_groups_are_drawn_and_widen_the_interval() -> None:
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(12), 10)
    values = rng.standard_normal(12)[groups] + 0.1 * rng.standard_normal(120)
    seen = []

    def mean(rows: np.ndarray) -> list[float]:
        seen.append(np.bincount(groups[rows], minlength=12))
        return [float(values[rows].mean())]

    (single,), (whole,) = (bootstrap(mean, 120, groups=g, resamples=200) for g in (None, groups))
    assert whole.high - whole.low > 2 * (single.high - single.low)
    assert all((counts % 10 == 0).all() for counts in seen[-200:])
    with pytest.raises(ValueError, match="groups"):
        bootstrap(mean, 120, groups=groups[:5])


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(8)
    a, labels = _pair(rng, 100, 0.8)
    b = a - 0.1 * labels  # the same errors, a little less signal
    found = bootstrap_difference(plcc, a, b, labels, resamples=300)
    assert found.value == pytest.approx(plcc(a, labels) - plcc(b, labels))
    assert found.excludes(0)
    (alone,) = bootstrap(lambda rows: [plcc(a[rows], labels[rows])], 100, resamples=300)
    assert found.high - found.low < (alone.high - alone.low) / 2


def test_a_draw_without_the_figure_does_not_count() -> None:
    a, labels = np.array([1.0, 2, 3, 4, 5]), np.array([0.0, 0, 0, 0, 1])
    (found,) = bootstrap(lambda rows: [plcc(a[rows], labels[rows])], 5, resamples=200)
    assert np.isfinite([found.low, found.high]).all()
    (lonely,) = bootstrap(lambda rows: [1.0], 5, groups=np.zeros(5))
    assert lonely.value == 1 and np.isnan(lonely.low)
