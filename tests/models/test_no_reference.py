"""BRISQUE's features and NIQE: what they are made of, and that NIQE sees noise and blur."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file
from scipy import ndimage

from models.metrics.no_reference import FEATURES, NiqeModel, brisque_features, niqe_features
from models.weights_file import WeightsError

Image = npt.NDArray[np.float32]


def _scene(seed: int, side: int = 192) -> Image:
    """Texture whose spectrum falls like a photograph's, and a few edges."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(generator.standard_normal((side, side))) / np.maximum(frequency, 1 / side)
    texture = np.fft.ifft2(spectrum).real
    y, x = np.mgrid[:side, :side]
    edges = sum((np.hypot(y - a, x - b) < 30).astype(float) for a, b in generator.integers(0, side, (4, 2)))
    mixed = texture / texture.std() + edges
    return ((mixed - mixed.min()) / np.ptp(mixed)).astype(np.float32)


def _noisy(image: Image, level: float) -> Image:
    noise = np.random.default_rng(9).standard_normal(image.shape)
    return np.clip(image + level * noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> NiqeModel:
    return NiqeModel.fit([_scene(seed) for seed in range(8)], patch=32, sharpness=0.5)


def test_noise_and_blur_move_away_from_clean_images(model: NiqeModel) -> None:
    image = _scene(100)
    noise = [model.score(_noisy(image, level)) for level in (0, 0.03, 0.06, 0.12)]
    blur = [model.score(ndimage.gaussian_filter(image, sigma)) for sigma in (0, 0.7, 1.2, 2.5)]
    assert np.all(np.diff(noise) > 0) and np.all(np.diff(blur) > 0)
    assert min(noise[1:] + blur[1:]) > 1.5 * noise[0]


def test_the_score_is_the_distance_of_the_two_gaussians(model: NiqeModel) -> None:
    image = _noisy(_scene(100), 0.05)
    found, sharp = niqe_features(image, 32)
    assert found.shape == (36, FEATURES) and sharp.shape == (36,)
    away = model.mean - found.mean(axis=0)
    middle = (model.covariance + np.cov(found.T)) / 2
    assert model.score(image) == pytest.approx(np.sqrt(away @ np.linalg.solve(middle, away)), rel=1e-6)


def test_a_model_survives_its_file(model: NiqeModel, tmp_path: Path) -> None:
    model.save(tmp_path / "clean.safetensors")
    again = NiqeModel.load(tmp_path / "clean.safetensors")
    assert again.patch == 32
    assert np.array_equal(again.mean, model.mean) and np.array_equal(again.covariance, model.covariance)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for content in (b"", b"not safetensors"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"other\.safetensors is no NIQE model"):
            NiqeModel.load(path)
    save_file({"mean": np.zeros(3), "covariance": np.eye(3)}, path, {"niqe": '{"patch": 32}'})
    with pytest.raises(WeightsError, match="expected 36 features"):
        NiqeModel.load(path)


def test_air_has_no_share_in_the_score(model: NiqeModel) -> None:
    image = _noisy(_scene(100), 0.05)
    with_air = np.zeros((192, 192 + 64), np.float32)
    with_air[:, :192] = image
    assert len(niqe_features(with_air, 32)[0]) == len(niqe_features(image, 32)[0])


def test_sharpness_chooses_patches() -> None:
    image = _scene(1)
    image[:96] = ndimage.gaussian_filter(image[:96], 2)
    _, sharp = niqe_features(image, 32)
    assert sharp[:18].max() < 0.75 * sharp[18:].max()
    few = NiqeModel.fit([_scene(seed) for seed in range(8)], patch=16, sharpness=0.9)
    many = NiqeModel.fit([_scene(seed) for seed in range(8)], patch=16, sharpness=0.0)
    assert not np.allclose(few.mean, many.mean)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.zeros((20, 200), np.float32), "shape"),
        (np.zeros((1, 64, 64), np.float32), "shape"),
        (np.full((64, 64), 0.5, np.float32), "no texture"),
        (_scene(0, 64) * 255, r"expected \[0, 1\]"),
        (np.full((64, 64), np.nan, np.float32), r"expected \[0, 1\]"),
    ],
)
def test_images_without_statistics_are_refused(model: NiqeModel, image: Image, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        model.score(image)


def test_too_few_patches_make_no_model() -> None:
    with pytest.raises(ValueError, match="sharp patches"):
        NiqeModel.fit([_scene(0)], patch=96)
    with pytest.raises(ValueError, match="0 sharp patches"):
        NiqeModel.fit([])


def test_brisque_features_of_gaussian_noise() -> None:
    """Normalised white noise is nearly Gaussian (shape 2) and the same in both directions."""
    noise = np.clip(0.5 + 0.1 * np.random.default_rng(0).standard_normal((256, 256)), 0, 1)
    found = brisque_features(noise.astype(np.float32))
    assert found.shape == (FEATURES,) and np.isfinite(found).all()
    assert 1.7 < found[0] < 3.0
    assert np.allclose(found[2:6], found[6:10], rtol=0.1, atol=0.01)
    assert np.allclose(found[10:14], found[14:18], rtol=0.1, atol=0.01)


def test_brisque_features_tell_noise_from_blur() -> None:
    image = _scene(3)
    clean, noise = brisque_features(image), brisque_features(_noisy(image, 0.1))
    blur = brisque_features(ndimage.gaussian_filter(image, 2))
    assert noise[1] > clean[1] > blur[1]  # variance of the normalised pixels


def test_brisque_features_of_a_blank_image_are_finite() -> None:
    assert np.isfinite(brisque_features(np.zeros((64, 64), np.float32))).all()
