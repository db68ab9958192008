"""Opinions and agreement against published worked examples, and what must hold of any ratings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qagate.gate.agreement import alpha, icc
from train.labels.agreement import agreement
from train.labels.opinion import Scoring, bias, follows, on_one_scale, opinions, screen, z_scores

NAN = float("nan")
#: Shrout and Fleiss (1979), table 2: six targets, four judges
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
#: Krippendorff (2011), section E: four observers, twelve units
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def test_icc_of_shrout_and_fleiss() -> None:
    single, mean = icc(SHROUT_FLEISS)
    assert single == pytest.approx(0.29, abs=0.005)
    assert mean == pytest.approx(0.62, abs=0.005)


def anova(ratings: np.ndarray) -> tuple[float, float]:
    """ICC(2,1) and ICC(2,k) by the mean squares, as the paper writes them."""
    n, k = ratings.shape
    grand, rows, columns = ratings.mean(), ratings.mean(axis=1), ratings.mean(axis=0)
    bms = k * ((rows - grand) ** 2).sum() / (n - 1)
    jms = n * ((columns - grand) ** 2).sum() / (k - 1)
    ems = ((ratings - rows[:, None] - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n), (bms - ems) / (bms + (jms - ems) / n)


@pytest.mark.parametrize("shape", [(5, 2), (12, 3), (40, 7)])
def test_icc_of_complete_ratings_is_that_of_the_mean_squares(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    ratings = rng.normal(0, 2, (shape[0], 1)) + rng.normal(0, 1, (1, shape[1])) + rng.normal(0, 1, shape)
    assert icc(ratings) == pytest.approx(anova(ratings))


def test_icc_survives_missing_ratings() -> None:
    rng = np.random.default_rng(5)
    ratings = rng.normal(0, 2, (400, 1)) + rng.normal(0, 0.7, (1, 6)) + rng.normal(0, 1, (400, 6))
    with_holes = np.where(rng.random(ratings.shape) < 0.5, NAN, ratings)
    assert icc(with_holes)[0] == pytest.approx(icc(ratings)[0], abs=0.05)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorff(level: str, published: float) -> None:
    assert alpha(KRIPPENDORFF, level) == pytest.approx(published, abs=0.0005)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ratings",
    [
        np.empty((0, 0)), np.full((3, 2), NAN), np.array([[1.0], [2.0], [3.0]]), np.full((4, 3), 2.0),
        np.array([[1, NAN], [NAN, 2.0]]),
    ],
)  # fmt: skip
def test_agreement_that_does_not_exist(ratings: np.ndarray) -> None:
    assert np.isnan([*icc(ratings), alpha(ratings, "interval"), alpha(ratings, "ordinal")]).all()
    assert np.isnan(agreement(ratings, resamples=20).alpha_interval.low)


def test_agreement_brings_intervals() -> None:
    found = agreement(KRIPPENDORFF, resamples=300, seed=1)
    assert (found.items, found.raters) == (11, 4)
    for one in (found.alpha_interval, found.alpha_ordinal, found.icc_single, found.icc_mean):
        assert one.low < one.value < one.high <= 1
    assert found == agreement(KRIPPENDORFF, resamples=300, seed=1)


def made(raters: int = 12, items: int = 60) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.uniform(1, 5, (items, 1)) + rng.normal(0, 0.4, (items, raters))


def test_the_screening_rejects_the_erratic_and_keeps_the_severe() -> None:
    ratings = made()
    ratings[:, 3] -= 1.5
    ratings[:, 7] += np.where(np.arange(60) % 2, 1.5, -1.5)
    found = screen(ratings)
    assert np.flatnonzero(found.rejected).tolist() == [7]
    assert found.low[3] > 3 and found.high[3] == 0, "outlying, but on one side"
    assert not screen(made()).rejected.any()
    kept = opinions(ratings).kept
    assert np.flatnonzero(~kept).tolist() == [7]
    assert opinions(ratings, Scoring(reject=False)).kept.all()


def test_the_screening_by_hand() -> None:
    """A normal item allows 2 deviations; a peaked one √20, and of ten raters nobody can lie that far off."""
    normal = np.array([1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 3, 3, 2, 4, 3, 0.5])
    peaked = np.array([*[3.0] * 9, 9.0])
    centred = normal - normal.mean()
    assert 2 < (centred**4).mean() / (centred**2).mean() ** 2 < 4
    found = screen(normal[None])
    limit = 2 * normal.std(ddof=1)
    assert found.low.tolist() == (centred <= -limit).astype(int).tolist() and found.low.sum() == 1
    assert screen(peaked[None]).high.sum() == 0


def test_fewer_than_six_raters_are_never_rejected() -> None:
    ratings = made(raters=5)
    ratings[:, 0] = np.where(np.arange(60) % 2, 100.0, -100.0)
    assert not screen(ratings).rejected.any()


def test_mean_opinions() -> None:
    ratings = np.array([[1, 2, NAN], [4, 4, 4], [NAN, 5, NAN], [NAN, NAN, NAN]])
    found = opinions(ratings)
    assert found.mos[:3].tolist() == [1.5, 4, 5] and np.isnan(found.mos[3])
    assert found.raters.tolist() == [2, 3, 1, 0]
    assert found.deviation[0] == pytest.approx(0.5**0.5) and found.deviation[1] == 0
    assert found.half_width[0] == pytest.approx(1.96 * 0.5**0.5 / 2**0.5)
    assert np.isnan(found.deviation[2:]).all()


def test_z_scores_undo_severity_and_spread() -> None:
    truth = np.linspace(0, 4, 21)
    ratings = np.stack([truth, 0.5 * truth + 1, truth * 0 + 2], axis=1)
    z = z_scores(ratings)
    assert np.allclose(z[:, 0], z[:, 1]) and np.isnan(z[:, 2]).all()
    found = opinions(ratings, Scoring(z_score=True))
    assert found.kept.tolist() == [True, True, False], "who says the same of all tells nothing"
    assert found.deviation == pytest.approx(np.zeros(21), abs=1e-12)
    assert np.corrcoef(found.mos, truth)[0, 1] == pytest.approx(1)
    assert found.mos.mean() == pytest.approx(ratings[:, :2].mean())
    assert np.isnan(on_one_scale(ratings[:, 2:])).all()


def test_bias() -> None:
    ratings = np.array([[1, 2, 3], [2, 3, NAN], [5, NAN, NAN]])
    assert bias(ratings).tolist() == pytest.approx([(1 - 2.5 + 2 - 3) / 2, (0 + 1) / 2, 1.5])
    assert np.isnan(bias(np.array([[1.0], [2.0]]))).all()


def test_who_follows_the_others() -> None:
    ratings = made(raters=8)
    ratings[:, 1] = 6 - ratings[:, 1]
    ratings[:, 4] = 3.0
    ratings[2:, 3] = NAN
    found = follows(ratings)
    assert found[0] > 0.5 and found[1] < -0.5, "one against all"
    assert np.isnan(found[3:5]).all(), "one score, and two items, tell nothing"


def test_a_lone_far_one_among_raters_who_agree_is_not_rejected_but_seen() -> None:
    ratings = made(raters=10) * 0.1
    ratings[:, 6] += np.where(np.arange(60) % 2, 50.0, -50.0)
    assert not screen(ratings).rejected.any(), "as the recommendation has it, below 22 raters"
    found = follows(ratings)
    assert np.argmin(found) == 6 and np.sort(found)[1] > 0.7
    assert screen(np.concatenate([ratings, *[ratings[:, :5]] * 3], axis=1)).rejected[6], "with 25 he is"


tables = arrays.arrays(
    float,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    elements=st.one_of(st.just(NAN), st.integers(0, 4).map(float)),
)


@given(tables, st.floats(0.1, 10), st.floats(-5, 5))
def test_agreement_does_not_depend_on_unit_origin_or_order(
    ratings: np.ndarray, unit: float, origin: float
) -> None:
    rows, columns = np.random.default_rng(1).permutation(len(ratings)), np.arange(ratings.shape[1])[::-1]
    other = (unit * ratings + origin)[rows][:, columns]
    for level in ("nominal", "ordinal", "interval"):
        assert alpha(other, level) == pytest.approx(alpha(ratings, level), nan_ok=True, abs=1e-6)
    assert icc(other) == pytest.approx(icc(ratings), nan_ok=True, abs=1e-6)


@given(tables)
def test_an_opinion_lies_among_its_ratings(ratings: np.ndarray) -> None:
    found = opinions(ratings)
    for row, mos in zip(ratings, found.mos, strict=True):
        assert np.isnan(mos) or np.nanmin(row) - 1e-9 <= mos <= np.nanmax(row) + 1e-9
    assert (screen(ratings).high <= (~np.isnan(ratings)).sum(axis=0)).all()
