from __future__ import annotations

import numpy as np
import pytest

from models.inputs import QualityModel, SliceInput, channels, working_pixels
from models.registry import load


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return load()


def _slice(seed: int, modality: str = "MR", shape: tuple[int, int] = (128, 96)) -> SliceInput:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    disc = (x**2 + y**2 < 0.6) * (1 + 0.2 * np.sin(9 * x + seed)) + 0.02 * rng.standard_normal(shape)
    pixels = disc * 1000 - (1000 if modality == "CT" else 0)
    return SliceInput(pixels=pixels.astype(np.float32), modality=modality)


def test_one_output_a_slice_in_order_whatever_the_mixture(model: QualityModel) -> None:
    mixed = [_slice(0), _slice(1, "CT"), _slice(2, shape=(64, 80)), _slice(3)]
    together = model.predict(mixed)
    alone = [model.predict([item])[0] for item in mixed]
    assert len(together) == 4
    for a, b in zip(together, alone, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_answers_are_finite_within_their_ranges_and_probabilities_sum_to_one(model: QualityModel) -> None:
    for out in model.predict([_slice(0), _slice(1, "CT"), _slice(4, shape=(400, 400))]):
        assert 0 <= out.score <= 1
        assert 0 <= out.quality <= 1
        assert sum(out.artefacts.values()) == pytest.approx(1, abs=1e-5)
        assert out.out_of_distribution > 0


def test_the_same_slices_give_the_same_answers(model: QualityModel) -> None:
    slices = [_slice(0), _slice(1, "CT")]
    assert model.predict(slices) == model.predict(slices)
    assert load().predict(slices) == model.predict(slices)


@pytest.mark.parametrize(("modality", "shape"), [("MR", (16, 12)), ("CT", (16, 12))])
def test_the_quality_map_lies_over_the_image_and_around_the_score(
    model: QualityModel, modality: str, shape: tuple[int, int]
) -> None:
    (out,) = model.predict([_slice(0, modality, shape=(256, 192))])
    assert out.quality_map is not None and out.quality_map.shape == shape
    assert out.quality_map.mean() == pytest.approx(out.score, abs=1e-5) and out.quality_map.std() > 0.01


def test_nothing_gives_nothing(model: QualityModel) -> None:
    assert model.predict([]) == []


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_constant_image_has_an_answer(model: QualityModel, modality: str) -> None:
    (out,) = model.predict([SliceInput(pixels=np.zeros((64, 64), np.float32), modality=modality)])
    assert np.isfinite([out.score, out.quality, out.out_of_distribution]).all()


def test_mr_units_do_not_matter(model: QualityModel) -> None:
    item = _slice(0)
    scaled = SliceInput(pixels=item.pixels * 37 + 5, modality="MR")
    first, second = model.predict([item, scaled])
    assert first.score == pytest.approx(second.score, abs=2e-3)


@pytest.mark.parametrize(
    ("pixels", "modality", "said"),
    [
        (np.zeros((64, 64, 3), np.float32), "MR", "shape"),
        (np.zeros(64, np.float32), "MR", "shape"),
        (np.zeros((1, 1), np.float32), "MR", "1x1"),
        (np.zeros((0, 64), np.float32), "CT", "0x64"),
        (np.zeros((20_000, 40), np.float32), "CT", "20000x40"),
        (np.full((64, 64), np.nan, np.float32), "CT", "NaN"),
        (np.full((64, 64), np.inf, np.float32), "MR", "infinity"),
        (np.zeros((64, 64), np.float32), "PT", "PT"),
        (np.zeros((64, 64), np.float32), "", "modality"),
    ],
)
def test_a_slice_that_cannot_be_judged_is_named(
    model: QualityModel, pixels: np.ndarray, modality: str, said: str
) -> None:
    with pytest.raises(ValueError, match=rf"slice 2 of 2.*{said}"):
        model.predict([_slice(0), SliceInput(pixels=pixels, modality=modality)])


def test_halving_is_the_exact_mean_and_only_from_384_a_side() -> None:
    image = np.arange(400 * 500, dtype=np.float32).reshape(400, 500)
    halved = working_pixels(image)
    assert halved.shape == (200, 250)
    assert halved[3, 4] == pytest.approx(image[6:8, 8:10].mean())
    assert working_pixels(image[:383]).shape == (383, 500)
    assert working_pixels(np.zeros((1025, 1024), np.float32)).shape == (256, 256)


def test_ct_has_three_windows_and_mr_one_channel() -> None:
    work = np.linspace(-1200, 1200, 64 * 64, dtype=np.float32).reshape(64, 64)
    windows = channels(work, "CT")
    assert windows.shape == (3, 64, 64)
    assert windows.min() == 0 and windows.max() == 1
    assert channels(work, "MR").shape == (1, 64, 64)
