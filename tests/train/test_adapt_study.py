"""Going on from an earlier fit, and what a simulated house gains by it."""

from __future__ import annotations

import numpy as np
import pytest

from train.adapt import moved, scores
from train.adapt_study import FIGURES, deals, study, table
from train.dataset import Samples
from train.fit import head_of, labels
from train.prior import Prior, update
from train.simulate import SIMULATORS

FEATURES = 30


def remembered(old: np.ndarray, *, axes: int, ridge: float) -> Prior:
    """What is kept of old samples, whose means are 0."""
    _, values, vectors = np.linalg.svd(old, full_matrices=False)
    kept = vectors[:axes].T
    off = np.square(old).sum(axis=1) - np.square(old @ kept).sum(axis=1)
    return Prior(
        axes=kept, along=values[:axes] / np.sqrt(len(old)), off=float(np.sqrt(max(off.mean(), 0))),
        images=len(old), ridge=ridge,
    )  # fmt: skip


def ridge_fit(x: np.ndarray, y: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercepts of least squares with a penalty on the weights."""
    a = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.diag([*[ridge * x.shape[1]] * x.shape[1], 0.0])
    both = np.linalg.solve(a.T @ a + penalty, a.T @ y)
    return both[:-1], both[-1]


@pytest.mark.parametrize("count", [12, 200])
def test_going_on_is_fitting_on_both(count: int) -> None:
    rng = np.random.default_rng(count)
    old, new = rng.normal(size=(300, FEATURES)), rng.normal(size=(count, FEATURES)) + 0.5
    old -= old.mean(axis=0)
    truth = rng.normal(size=(FEATURES, 2))
    old_y, new_y = (x @ truth + rng.normal(size=(len(x), 2)) + 1 for x in (old, new))
    weight, bias = ridge_fit(old, old_y, 0.3)
    more, shift = update(
        new, new_y - new @ weight - bias, np.ones(count), remembered(old, axes=FEATURES, ridge=0.3)
    )
    wanted, wanted_bias = ridge_fit(np.vstack([old, new]), np.vstack([old_y, new_y]), 0.3)
    assert weight + more == pytest.approx(wanted, abs=1e-8)
    assert bias + shift == pytest.approx(wanted_bias, abs=1e-8)


def test_both_spaces_agree_and_weights_count() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=(300, FEATURES)) * np.linspace(3, 0.1, FEATURES)
    prior = remembered(old - old.mean(axis=0), axes=5, ridge=0.1)
    new, left = rng.normal(size=(FEATURES, FEATURES)), rng.normal(size=(FEATURES, 1))
    weights = np.linspace(0.5, 2.0, FEATURES)
    small = update(new, left, weights, prior)
    # one more row that weighs nothing makes the other space the smaller one; the mean weight falls with it
    count = FEATURES / (FEATURES + 1)
    scaled = Prior(
        axes=prior.axes,
        along=prior.along,
        off=prior.off,
        images=prior.images / count,
        ridge=prior.ridge / count,
    )
    more = np.vstack([new, np.ones((1, FEATURES))])
    large = update(more, np.vstack([left, [[9.0]]]), np.append(weights, 1e-9), scaled)
    assert large[0] == pytest.approx(small[0], rel=1e-5, abs=1e-9)
    assert large[1] == pytest.approx(small[1], rel=1e-5, abs=1e-9)
    assert not np.allclose(small[0], update(new, left, np.ones(FEATURES), prior)[0]), "weights count"


def simulated(subjects: int = 7, *, seed: int = 0) -> Samples:
    """Ladders whose features are severity through directions that vary between subjects, and noise."""
    rng = np.random.default_rng(seed)
    common, rows = rng.normal(size=FEATURES), []
    for subject in range(subjects):
        own = common + 0.8 * rng.normal(size=FEATURES)

        for artefact, severity in [("none", 0.0)] + [
            (a, s) for a in SIMULATORS["MR"] for s in (1.0, 2.0, 3.0, 4.0, 5.0)
        ]:
            features = -severity * own + 0.5 * rng.normal(size=FEATURES)
            rows.append((f"v{subject}/0", f"p{subject}", artefact, severity, features))
    severity = np.array([row[3] for row in rows])
    return Samples(
        reference=np.array([row[0] for row in rows]),
        subject=np.array([row[1] for row in rows]),
        copy=np.zeros(len(rows), dtype=int),
        artefact=np.array([row[2] for row in rows]),
        severity=severity,
        teachers=-severity[:, None] + 0.1 * rng.normal(size=(len(rows), 4)),
        features=np.array([row[4] for row in rows], dtype=np.float32),
    )


def test_nobody_is_in_two_places() -> None:
    subjects = np.array(["a", "b", "c", "d", "e", "a"])
    dealt = list(deals(subjects, 2, 20))
    for deal in dealt:
        parts = (deal.archive, deal.next_patients, deal.elsewhere)
        assert [len(part) for part in parts] == [2, 2, 1]
        assert set(np.concatenate(parts)) == set(subjects)
    assert len({tuple(deal.archive) for deal in dealt}) > 5
    with pytest.raises(ValueError, match="half 3 of 5 subjects: expected 1 to 2"):
        next(deals(subjects, 3, 1))


def test_a_house_gains() -> None:
    samples = simulated()
    points = study(samples, 0.3, half=3, draws=8)
    assert [point.subjects for point in points] == [1, 2, 3]
    gains = [point.gain["SROCC"].value for point in points]
    assert gains[-1] > 0.01 and min(gains) > 0, gains
    for point in points:
        assert point.after["SROCC"] == pytest.approx(point.before["SROCC"] + point.gain["SROCC"].value)
        assert point.gain["SROCC"].low <= point.gain["SROCC"].value <= point.gain["SROCC"].high
    shown = table("MR", samples, points, 8)
    assert len(shown.rows) == 4 and "heads of 1 subjects, judged on 3 others" in shown.text()
    assert all(name in shown.text() for name in FIGURES)
    assert study(samples, 0.3, half=3, draws=8) == points, "the same again"


def test_a_head_that_knew_everything_stays() -> None:
    samples = simulated(6)
    head = head_of(samples, labels(samples), 0.3)
    mine = samples.where(samples.subject == "p0")
    same = moved(head, mine, scores(mine, head), 0.3)
    assert same.weight[:, 0] == pytest.approx(head.weight[:, 0], abs=1e-5)
    assert (same.mean == head.mean).all() and (same.calibration == head.calibration).all()
