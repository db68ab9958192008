"""What is no slice of the modality, and the direction that says so."""

from __future__ import annotations

import numpy as np
import pytest

from models.default import Head
from train.dataset import Samples, Taught
from train.fit import protocols
from train.foreign import direction, foreign, held_out, limit_of
from train.ridge import fit
from train.strangers import CT_RANGES_HU, strangers


def _samples(count: int = 60) -> Samples:
    rng = np.random.default_rng(0)
    return Samples(
        reference=np.array([f"v{n % 3}/2/1" for n in range(count)]),
        subject=np.array([f"s{n % 3}" for n in range(count)]),
        copy=np.arange(count) % 2,
        artefact=np.array(["none", "blur"] * (count // 2)),
        severity=np.zeros(count),
        teachers=np.zeros((count, 4)),
        features=rng.standard_normal((count, 8)).astype(np.float32),
    )


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_strangers_are_images_of_many_kinds(modality: str) -> None:
    found = strangers(modality, seed=3)
    assert len({one.kind for one in found}) > 8 and len({one.name for one in found}) > 40
    assert all(one.pixels.ndim == 2 and min(one.pixels.shape) >= 32 for one in found)
    assert all(one.pixels.dtype == np.float32 and np.isfinite(one.pixels).all() for one in found)
    if modality == "CT":
        low, high = min(CT_RANGES_HU)[0], max(h for _, h in CT_RANGES_HU)
        assert min(float(one.pixels.min()) for one in found) >= low
        assert max(float(one.pixels.max()) for one in found) <= high


def test_the_same_seed_gives_the_same_strangers() -> None:
    for a, b in zip(strangers("MR", seed=1), strangers("MR", seed=1), strict=True):
        assert a.name == b.name and (a.pixels == b.pixels).all()


def test_the_direction_tells_strangers_it_was_not_taught_with() -> None:
    samples = _samples()
    rng = np.random.default_rng(1)
    strange = (rng.standard_normal((20, 8)) + 6 * np.eye(8)[0]).astype(np.float32)
    none = np.empty((0, 8), np.float32)
    own, theirs = held_out(samples, strange, [str(n // 2) for n in range(20)], none)
    limit = limit_of(own)
    assert (theirs > limit).mean() > 0.9 and (own > limit).mean() < 0.05
    found = direction(samples, strange, none)
    weights = foreign(samples, strange, none, limit)
    z = np.clip((strange - found.mean) / found.scale, -5, 5)
    assert np.allclose(z @ weights[:-1] + weights[-1], found(strange)[:, 0] / limit, atol=1e-4)


def test_a_head_declines_what_either_distance_or_direction_calls_strange() -> None:
    head = Head(
        types=("none",), mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32),
        weight=np.zeros((2, 2), np.float32), bias=np.zeros(2, np.float32),
        calibration=np.array([0.5, 0.1, 1], np.float32), ood_axes=np.eye(2, 1, dtype=np.float32),
        ood_scale=np.array([1, 1, 3], np.float32), foreign=np.array([0, 1, 0], np.float32),
    )  # fmt: skip
    usual, directed, far = head.strangeness(np.array([[0.5, 0.2], [0, 1.5], [5, 0]], np.float32))
    assert usual < 1 < directed and far > 1
    newer = np.array([[0.5, 0.2, 99.0]], np.float32)  # a feature that came after the head
    assert head(newer)[0].out_of_distribution == pytest.approx(usual)


def test_protocols_are_volumes_and_their_copies() -> None:
    assert len(set(protocols(_samples()))) == 6


def test_within_groups_a_groups_own_level_does_not_count() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 20)
    level = rng.standard_normal(10)[groups]
    x = np.column_stack([level, rng.standard_normal(200)]).astype(np.float32)
    y = (5 * level + x[:, 1])[:, None]
    pooled = fit(x, y, np.ones(200), 1e-4)
    inside = fit(x, y, np.ones(200), 1e-4, groups=groups, within=1.0)
    assert abs(pooled.weight[0, 0] / pooled.scale[0]) > 4
    assert abs(inside.weight[0, 0] / inside.scale[0]) < 0.1
    assert inside.weight[1, 0] / inside.scale[1] == pytest.approx(1, abs=0.05)


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="within"):
        Taught(within=1.5)
    with pytest.raises(ValueError, match="ridge"):
        Taught(type_ridge=-1.0)
