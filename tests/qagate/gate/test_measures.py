"""Measures against synthetic slices whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from qagate.gate.measures import MEASURES, findings, measure, series_measures, slice_measures
from qagate.image import SliceHeader, SliceImage, Stack

SIDE = 256


def _header(modality: str, number: int = 1, **more: object) -> SliceHeader:
    values: dict[str, object] = {
        "path": f"{number}.dcm",
        "sop_instance_uid": f"1.2.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "modality": modality,
        "rows": SIDE,
        "columns": SIDE,
        "instance_number": number,
        "position_mm": 5.0 * number,
        "slice_thickness_mm": 5.0,
    }
    return SliceHeader(**(values | more))  # type: ignore[arg-type]


def _image(pixels: np.ndarray, modality: str, number: int = 1, **more: object) -> SliceImage:
    return SliceImage(header=_header(modality, number, **more), pixels=pixels.astype(np.float32))


def _ellipse(rows: float = 60, columns: float = 80) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (y / rows) ** 2 + (x / columns) ** 2 < 1


def _head() -> np.ndarray:
    """A bright body with a darker inside and some edges, in air."""
    pixels = np.where(_ellipse(), 700.0, 0.0)
    pixels[_ellipse(45, 60)] = 1000.0
    pixels[110:130, 100:120] = 500.0
    return ndimage.gaussian_filter(pixels, 0.7)


def _rician(pixels: np.ndarray, sd: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.hypot(pixels + rng.normal(0, sd, pixels.shape), rng.normal(0, sd, pixels.shape))


def _ct(sd: float, seed: int = 0) -> np.ndarray:
    hu = np.where(_ellipse(90, 110), 50.0, -1000.0)
    hu[_ellipse(90, 110) & ~_ellipse(84, 104)] = 900.0
    return hu + np.random.default_rng(seed).normal(0, sd, hu.shape)


@pytest.mark.parametrize("sd", [2.0, 10.0, 40.0, 100.0])
def test_ct_noise_is_the_added_noise(sd: float) -> None:
    measures = slice_measures(_image(_ct(sd), "CT", pixel_spacing_mm=(0.9, 0.9)))
    assert measures["noise_hu"] == pytest.approx(sd, rel=0.1)
    assert measures["noise_air_hu"] == pytest.approx(sd, rel=0.1)


def test_ct_noise_ignores_slow_shading() -> None:
    cupping = 30 * ((np.mgrid[:SIDE, :SIDE] - SIDE / 2) ** 2).sum(axis=0) / 100**2
    measures = slice_measures(_image(_ct(5.0) + cupping, "CT", pixel_spacing_mm=(0.45, 0.45)))
    assert measures["noise_hu"] == pytest.approx(5.0, rel=0.15)


def test_ct_air_that_is_cut_off_has_no_noise_figure() -> None:
    measures = slice_measures(_image(np.maximum(_ct(10.0), -1000.0), "CT"))
    assert "noise_air_hu" not in measures
    assert measures["noise_hu"] == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("sd", [10.0, 50.0, 150.0])
def test_mr_snr_is_signal_over_added_noise(sd: float) -> None:
    clean = _head()
    measures = slice_measures(_image(_rician(clean, sd), "MR"))
    truth = clean[_ellipse(58, 78)].mean() / sd
    assert measures["snr_air"] == pytest.approx(truth, rel=0.2)
    assert measures["snr_tissue"] == pytest.approx(truth, rel=0.25)


def test_blanked_air_has_no_snr() -> None:
    pixels = np.where(_ellipse(), _rician(_head(), 20.0), 0.0)
    measures = slice_measures(_image(pixels, "MR"))
    assert "snr_air" not in measures
    assert "snr_tissue" in measures


def test_edge_sharpness_is_the_gaussian_edges_slope_and_falls_with_blur() -> None:
    step = np.where(_ellipse(), 1000.0, 0.0)
    found = [
        slice_measures(_image(ndimage.gaussian_filter(step, sd), "MR"))["edge_sharpness_per_px"]
        for sd in (0.8, 1.5, 2.5, 4.0)
    ]
    assert found == sorted(found, reverse=True)
    assert found[1] == pytest.approx(1 / (1.5 * np.sqrt(2 * np.pi)), rel=0.15)


@pytest.mark.parametrize(("axis", "name"), [(0, "columns"), (1, "rows")])
@pytest.mark.parametrize("amplitude", [0.03, 0.08, 0.15])
def test_half_fov_ghosts_are_measured_and_directed(axis: int, name: str, amplitude: float) -> None:
    clean = _head()
    pixels = _rician(clean + amplitude * np.roll(clean, SIDE // 2, axis=axis), 3.0)
    measures = slice_measures(_image(pixels, "MR"))
    other = "rows" if name == "columns" else "columns"
    assert measures["ghost_to_signal_ratio"] == pytest.approx(amplitude, rel=0.4)
    assert measures[f"ghost_along_{name}"] > 0.6 * amplitude
    assert measures[f"ghost_along_{other}"] < 0.02


def test_ghosts_on_a_body_that_fills_the_image_are_found() -> None:
    rng = np.random.default_rng(3)
    texture = 500 + 100 * ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 1.0) / 0.28
    ghosted = texture + 0.15 * np.roll(texture, SIDE // 3, axis=0)
    assert slice_measures(_image(ghosted, "MR"))["ghost_correlation"] > 0.08
    assert slice_measures(_image(texture, "MR"))["ghost_correlation"] < 0.03


def test_clean_slices_hardly_ghost() -> None:
    measures = slice_measures(_image(_rician(_head(), 10.0), "MR"))
    assert measures["ghost_to_signal_ratio"] < 0.01
    assert measures["ghost_correlation"] < 0.01


def test_entropy_focus_rises_with_ghosts() -> None:
    clean = _head()
    found = [
        slice_measures(_image(clean + a * np.roll(clean, SIDE // 2, axis=0), "MR"))["entropy_focus"]
        for a in (0.0, 0.1, 0.3)
    ]
    assert found == sorted(found)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_clipping_is_the_share_of_the_body_at_the_top(share: float) -> None:
    body = _ellipse()
    pixels = np.where(body, 500 + np.random.default_rng(1).normal(0, 50, body.shape), 0.0)
    pixels = np.minimum(pixels, np.quantile(pixels[body], 1 - share))
    assert slice_measures(_image(pixels, "MR"))["clipping_fraction"] == pytest.approx(share, rel=0.2)


def test_uniformity_falls_with_a_bias_field() -> None:
    field = np.linspace(-1, 1, SIDE)[:, None]
    body = np.where(_ellipse(100, 100), 1000.0, 0.0)
    found = [
        slice_measures(_image(_rician(body * (1 + strength * field), 5.0), "MR"))["uniformity_percent"]
        for strength in (0.0, 0.2, 0.6)
    ]
    assert found[0] > 97
    assert found == sorted(found, reverse=True)


def test_truncation_is_the_share_of_the_rim() -> None:
    inside = slice_measures(_image(_ct(5.0), "CT"))
    cut = slice_measures(_image(np.roll(_ct(5.0), 110, axis=0)[128:, :], "CT"))
    assert inside["fov_truncation_fraction"] == 0
    assert cut["fov_truncation_fraction"] > 0.2


def test_every_measure_is_registered_and_finite() -> None:
    for modality, pixels in (("MR", _rician(_head(), 20.0)), ("CT", _ct(10.0)), ("US", _head())):
        images = [_image(pixels, modality, number) for number in (1, 2, 3)]
        measures = series_measures(images, Stack(slices=tuple(i.header for i in images)))
        assert set(measures) <= set(MEASURES)
        assert np.isfinite(list(measures.values())).all()
        assert all(not s.modalities or modality in s.modalities for s in map(MEASURES.get, measures) if s)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((64, 64)), np.full((64, 64), np.nan), np.ones((1, 1)), np.zeros((0, 0)), np.zeros((5, 500))],
)
@pytest.mark.parametrize("modality", ["CT", "MR", "OP"])
def test_slices_without_content_have_no_measures(pixels: np.ndarray, modality: str) -> None:
    assert slice_measures(_image(pixels, modality)) == {}


@pytest.mark.parametrize("modality", ["CT", "MR", "CR"])
def test_odd_content_gives_finite_measures(modality: str) -> None:
    rng = np.random.default_rng(0)
    odd = [rng.normal(0, 1, (33, 70)), rng.normal(0, 1e6, (64, 64)), np.eye(64), -_head()]
    odd.append(np.where(rng.random((64, 64)) < 0.1, np.nan, 5 * rng.random((64, 64))))
    for pixels in odd:
        assert np.isfinite(list(slice_measures(_image(pixels, modality)).values())).all()


def _series(count: int, ghosted: range, phase_encoding: str | None = None) -> tuple[list[SliceImage], Stack]:
    clean = _head()
    images = []
    for number in range(1, count + 1):
        amplitude = 0.15 if number in ghosted else 0.0
        pixels = _rician(clean + amplitude * np.roll(clean, SIDE // 2, axis=0), 10.0, seed=number)
        images.append(_image(pixels, "MR", number, phase_encoding=phase_encoding))
    return images, Stack(slices=tuple(image.header for image in images))


def test_findings_name_direction_and_slices() -> None:
    images, stack = _series(20, range(9, 16))
    (found,) = findings(images, stack)
    assert found.text == "ghosting along columns, slices 9-15"
    assert found.sop_instance_uids == tuple(f"1.2.{number}" for number in range(9, 16))
    assert 0 < found.severity <= 1


def test_findings_span_slices_that_were_not_looked_at() -> None:
    images, stack = _series(20, range(9, 16), phase_encoding="COL")
    result = measure(images[1::3], stack)
    assert [finding.text for finding in result.findings] == [
        "ghosting along columns (phase encoding), slices 11-14"
    ]
    assert len(result.slices) == 7


def test_a_clean_series_has_no_findings() -> None:
    images, stack = _series(7, range(0))
    assert findings(images, stack) == ()


def _stack(positions: list[float]) -> Stack:
    return Stack(
        slices=tuple(_header("CT", n, position_mm=p) for n, p in enumerate(positions, start=1)),
    )


@pytest.mark.parametrize(
    ("positions", "missing"),
    [
        ([0, 5, 10, 15, 20], 0),
        ([0, 5, 10, 20, 25, 30], 1),
        ([0, 5, 10, 15, 30, 35, 40, 45], 2),
        ([0, 4, 8, 12, 16, 23, 30, 37, 44], 0),  # a head scan with two spacings
        ([0, 5, 15, 20, 30, 35, 40, 45], 2),
        ([0, 5, 5, 10, 10, 15, 20], 0),
        ([0, 10], 0),
    ],
)
def test_missing_slices_are_counted(positions: list[float], missing: int) -> None:
    measures = series_measures([], _stack(positions))
    assert measures["missing_slices_count"] == missing
    texts = [finding.text for finding in findings([], _stack(positions))]
    assert bool(texts) == bool(missing)


def test_doubled_positions_and_gaps_are_measured() -> None:
    measures = series_measures([], _stack([0, 5, 5, 12, 17, 22]))
    assert measures["duplicated_positions_count"] == 1
    assert measures["slice_gap_mm"] == pytest.approx(2.0)


def test_positions_that_are_unknown_say_nothing() -> None:
    stack = Stack(slices=tuple(_header("CT", n, position_mm=None) for n in (1, 2, 3)))
    assert series_measures([], stack) == {}
