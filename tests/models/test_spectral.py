from __future__ import annotations

import numpy as np
import pytest
import torch

from models.spectral import BINS, FRACTIONS, PER_CHANNEL, shortfall, spectral_features


def _image(noise: float = 0.0, size: int = 128) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = 0.6 * (x**2 + (1.3 * y) ** 2 < 0.3) + 0.2 * (x**2 + y**2 < 0.05)
    return (image + noise * np.random.default_rng(0).standard_normal(image.shape)).astype(np.float32)


def _features(*images: np.ndarray) -> np.ndarray:
    return spectral_features(torch.from_numpy(np.stack(images))).numpy()


@pytest.mark.parametrize("shape", [(32, 32), (45, 120), (181, 217), (256, 256)])
def test_every_shape_gives_the_same_number_of_finite_features(shape: tuple[int, int]) -> None:
    found = _features(np.random.default_rng(0).random(shape).astype(np.float32), np.zeros(shape, np.float32))
    assert found.shape == (2, PER_CHANNEL)
    assert np.isfinite(found).all()


def test_noise_raises_the_high_end_of_the_spectrum() -> None:
    clean, noisy = _features(_image(), _image(0.05))
    assert noisy[BINS - 2] > clean[BINS - 2] + 0.2


def test_a_ghost_raises_the_correlation_at_its_shift() -> None:
    image = _image(0.01)
    ghosted = image + 0.2 * np.roll(image, image.shape[0] // 2, axis=0)
    first = 2 * BINS - 1 + 8 + 2 * len(FRACTIONS)
    clean, ghost = _features(image, ghosted)
    assert ghost[first] > clean[first] + 0.05


def test_an_image_does_not_depend_on_its_batch() -> None:
    a, b = _image(0.01), _image(0.2)
    assert np.allclose(_features(a, b)[0], _features(a)[0], atol=1e-4)


def test_only_images_smoother_than_the_references_fall_short() -> None:
    def of(noise: float) -> float:
        return float(shortfall(torch.from_numpy(_features(_image(noise))))[0, 0])

    smooth = [of(noise) for noise in (0.0, 1e-4, 3e-4, 1e-3)]
    assert smooth[0] == -2.0
    assert smooth == sorted(smooth) and len(set(smooth)) == len(smooth)
    assert of(0.01) == of(0.1) == 0.0
