from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from qagate.assessment import Artefact
from train.consensus import TEACHERS, agree, body_mask, consensus, teach
from train.projector import projector
from train.simulate import SEEN_AS, SIMULATORS, degrade, randomise

KINDS = [(modality, artefact) for modality, kinds in SIMULATORS.items() for artefact in kinds]


def _phantom(modality: str, shape: tuple[int, int] = (180, 160)) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    texture = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(shape), 2)
    body = x**2 / 0.6 + y**2 / 0.7 < 1
    image = np.where(body, 0.5 + 0.6 * texture, 0.0)
    for cy, cx, r, value in ((0.2, 0.3, 0.12, 0.9), (-0.3, -0.2, 0.18, 0.25), (0.4, -0.35, 0.08, 1.3)):
        image = np.where((x - cx) ** 2 + (y - cy) ** 2 < r**2, value, image)
    if modality == "CT":
        image = np.where(body, (image - 0.5) * 400, -1000) + np.where(image > 1.2, 500, 0)
    else:
        image = image * 800
    return image.astype(np.float32)


@pytest.mark.parametrize(("modality", "artefact"), KINDS)
def test_a_stronger_artefact_is_worse_for_every_teacher_but_one_at_most(modality: str, artefact: str) -> None:
    clean = _phantom(modality)
    # A single trajectory's ghosts may cancel as the head moves further, so motion is judged on several.
    seeds = range(3) if artefact == "motion" else (4,)
    steps = []
    for severity in (0, 1.5, 3, 5):
        taught = [
            teach(clean, degrade(clean, artefact, severity, np.random.default_rng(seed), modality), modality)
            for seed in seeds
        ]
        steps.append({name: float(np.mean([one[name] for one in taught])) for name in TEACHERS})
    falling = [name for name in TEACHERS if all(a[name] > b[name] for a, b in pairwise(steps))]
    assert len(falling) >= len(TEACHERS) - 1


@pytest.mark.parametrize(("modality", "artefact"), KINDS)
def test_degrading_keeps_shape_type_and_seed(modality: str, artefact: str) -> None:
    clean = _phantom(modality, (91, 118))
    before = clean.copy()
    one, two = (degrade(clean, artefact, 4, np.random.default_rng(1), modality) for _ in range(2))
    assert one.shape == clean.shape and one.dtype == np.float32
    assert np.isfinite(one).all() and np.array_equal(one, two) and np.array_equal(clean, before)
    assert np.array_equal(degrade(clean, artefact, 0, np.random.default_rng(1), modality), clean)


def test_every_simulator_is_seen_as_an_artefact_of_the_gate() -> None:
    known = {artefact.value for artefact in Artefact}
    assert {SEEN_AS[artefact] for _, artefact in KINDS} <= known


@pytest.mark.parametrize(
    ("artefact", "severity", "modality", "said"),
    [
        ("ring", 1, "MR", "ring"),
        ("noise", 1, "US", "US"),
        ("noise", 6, "MR", "severity"),
        ("noise", -1, "CT", "severity"),
    ],
)
def test_what_cannot_be_simulated_is_named(artefact: str, severity: float, modality: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        degrade(_phantom("MR"), artefact, severity, np.random.default_rng(0), modality)


def test_pixels_that_are_no_image_are_refused() -> None:
    nan = np.full((64, 64), np.nan, np.float32)
    for pixels in (np.zeros((3, 3), np.float32), nan, np.zeros(64, np.float32)):
        with pytest.raises(ValueError, match="image"):
            degrade(pixels, "blur", 1, np.random.default_rng(0), "MR")


def test_randomised_references_never_grow_and_differ() -> None:
    for modality in ("CT", "MR"):
        clean = _phantom(modality, (256, 240))
        for seed in range(6):
            other = randomise(clean, np.random.default_rng(seed), modality)
            assert max(other.shape) <= max(clean.shape) and np.isfinite(other).all()
            assert other.shape != clean.shape or not np.array_equal(other, clean)


def test_projections_conserve_mass_and_come_back() -> None:
    image = ndimage.gaussian_filter((_phantom("MR", (128, 128)) / 800).astype(np.float32), 1)
    p = projector(128, 180)
    spokes = p.spokes(image)
    lines = p.sinogram(spokes)
    assert np.allclose(lines.sum(axis=1), image.sum(), rtol=2e-3)
    across = lines[0, p.size - 64 : p.size + 64]
    assert np.corrcoef(across, image.sum(axis=0))[0, 1] > 0.999
    again = p.reconstruct(spokes)
    difference = again - image
    assert (difference - difference.mean()).std() < 0.005
    # The highest frequency of a real line is real, that of a spoke need not be.
    assert np.allclose(p.spectrum(lines)[:, :-1], spokes[:, :-1], atol=1e-4 * abs(spokes).max())


def test_dose_noise_hits_its_level() -> None:
    water = np.full((256, 256), -1000, np.float32)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    water[x**2 + y**2 < 0.5] = 0
    noisy = degrade(water, "noise", 1, np.random.default_rng(0), "CT")
    assert 6 < noisy[118:138, 118:138].std() < 24


def test_consensus_is_the_mean_rank_from_worst_to_best() -> None:
    values = np.array([[0.1, 1.0], [0.5, 3.0], [0.9, 2.0]])
    assert consensus(values).tolist() == [0.0, 0.75, 0.75]
    assert agree(values[0], values[1]) and not agree(values[1], values[2])


def test_teachers_call_the_reference_itself_perfect() -> None:
    for modality in ("CT", "MR"):
        clean = _phantom(modality)
        found = teach(clean, clean, modality)
        assert found["gmsd"] == 0 and found["haarpsi"] == pytest.approx(1, abs=1e-4)
        assert found["iw_ssim"] == pytest.approx(1, abs=1e-4)


def test_outside_the_body_nothing_counts() -> None:
    clean = _phantom("MR")
    broken = np.where(body_mask(clean, "MR"), clean, 300).astype(np.float32)
    assert teach(clean, broken, "MR") == teach(clean, clean, "MR")
