"""Slices for the screen keep their values; maps tint what is bad and nothing else."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from qagate.assessment import QualityMap
from qagate.image import SliceHeader, SliceImage
from qagate.web.imaging import cells, map_ends, picture, screen_pixels, thumbnail


def _image(pixels: npt.NDArray[np.float32], modality: str = "CT", **more: object) -> SliceImage:
    header = SliceHeader(
        path="a.dcm", sop_instance_uid="1.2", sop_class_uid="1.2.3", modality=modality,
        rows=pixels.shape[0], columns=pixels.shape[1],
    )  # fmt: skip
    return SliceImage(header=header, pixels=pixels, **more)  # type: ignore[arg-type]


def _values(image: SliceImage) -> npt.NDArray[np.float64]:
    found = screen_pixels(image)
    stored = np.frombuffer(found.stored, "<u2").reshape(found.rows, found.columns)
    return stored * found.slope + found.intercept


def test_hounsfield_units_arrive_exactly() -> None:
    pixels = np.array([[-1024, -1, 0], [1, 40, 3071]], np.float32)
    assert np.array_equal(_values(_image(pixels)), pixels)
    assert (screen_pixels(_image(pixels)).centre, screen_pixels(_image(pixels)).width) == (40, 400)


@pytest.mark.parametrize("scale", [1e-3, 0.37, 1e7])
def test_other_values_arrive_within_one_step(scale: float) -> None:
    pixels = (np.random.default_rng(0).random((16, 12)) * scale).astype(np.float32)
    assert np.abs(_values(_image(pixels, "MR")) - pixels).max() <= np.ptp(pixels) / 65535
    found = screen_pixels(_image(pixels, "MR"))
    assert found.width == pytest.approx(0.98 * scale, rel=0.1)


def test_a_constant_slice_has_pixels_and_a_window() -> None:
    found = screen_pixels(_image(np.full((4, 4), 7, np.float32), "MR"))
    assert found.width > 0 and set(found.stored) == {0} and found.intercept == 7


def test_the_header_speaks_first_of_the_window() -> None:
    pixels = np.zeros((4, 4), np.float32)
    assert screen_pixels(_image(pixels, window=(300.0, 1500.0))).width == 1500


def _map(*rows: tuple[int, ...]) -> QualityMap:
    return QualityMap(
        rows=len(rows), columns=len(rows[0]), low=0.0, high=1.0, cells=bytes(sum(rows, start=()))
    )


def test_a_map_reads_back_and_gives_one_scale_to_its_series() -> None:
    assert cells(_map((0, 255), (51, 102))) == pytest.approx(np.array([[0, 1], [0.2, 0.4]]))
    low, high = map_ends([_map((0, 255)), None, _map((255, 255))])
    assert low < 0.1 and high == 1
    assert map_ends([None]) == (0.0, 0.0)


def test_bad_is_tinted_and_good_is_not() -> None:
    grey = np.linspace(0, 200, 64 * 64, dtype=np.float32).reshape(64, 64)
    half = _map((0, 255))
    made = np.asarray(Image.open(io.BytesIO(thumbnail(_image(grey), half, ends=(0.0, 1.0)))).convert("RGB"))
    red, blue = made[..., 0].astype(int), made[..., 2].astype(int)
    assert (red[:, :8] > blue[:, :8] + 30).all() and np.abs(red[:, -8:] - blue[:, -8:]).max() < 20
    small = Image.open(io.BytesIO(thumbnail(_image(grey.repeat(4, axis=0)))))
    assert small.size == (24, 96) and small.mode == "L"


def test_a_picture_has_every_pixel() -> None:
    made = Image.open(io.BytesIO(picture(_image(np.zeros((40, 30), np.float32)))))
    assert made.size == (30, 40) and made.format == "PNG"
