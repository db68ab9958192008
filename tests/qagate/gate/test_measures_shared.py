"""Measures on real series: known noise, nothing to complain of, and artefacts found when put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from qagate.assessment import Artefact
from qagate.dicom.pixels import decode, read_series
from qagate.gate.measures import Measured, measure
from qagate.gate.slices import is_empty_image, salient, scored_stack
from qagate.image import SliceHeader, SliceImage, Stack

SHARED = Path(__file__).parents[4] / "shared" / "dicom"
FOLDERS = sorted(folder.name for folder in SHARED.glob("*/")) if SHARED.is_dir() else []
pytestmark = pytest.mark.skipif(not FOLDERS, reason="shared series are not there")


def _read(folder: str) -> tuple[list[SliceImage], Stack]:
    series = read_series(sorted((SHARED / folder).glob("*.dcm")))
    stack = scored_stack(series.stacks)
    assert stack is not None
    decoded: dict[SliceHeader, SliceImage] = {}

    def is_empty(header: SliceHeader) -> bool:
        decoded[header] = decode(header)
        return is_empty_image(decoded[header])

    return [decoded[header] for header in salient(stack, is_empty)], stack


def _degraded(folder: str, change: Callable[[np.ndarray], np.ndarray]) -> Measured:
    images, stack = _read(folder)
    return measure([replace(i, pixels=change(i.pixels).astype(np.float32)) for i in images], stack)


@pytest.mark.parametrize(
    ("folder", "noise_hu"), [("ct_headphantom_philips_bone1mm", 16.5), ("ct_headphantom_philips_std5mm", 1.5)]
)
def test_noise_is_that_of_the_region_of_interest(folder: str, noise_hu: float) -> None:
    assert measure(*_read(folder)).measures["noise_hu"] == pytest.approx(noise_hu, rel=0.25)


@pytest.mark.parametrize("folder", FOLDERS)
def test_clean_series_have_no_findings(folder: str) -> None:
    assert measure(*_read(folder)).findings == ()


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name.startswith("ct_")])
def test_added_ct_noise_adds_up(folder: str) -> None:
    rng = np.random.default_rng(0)
    clean = measure(*_read(folder)).measures["noise_hu"]
    noisy = _degraded(folder, lambda p: p + rng.normal(0, 50, p.shape))
    assert noisy.measures["noise_hu"] == pytest.approx(np.hypot(clean, 50), rel=0.1)
    assert Artefact.NOISE in {finding.artefact for finding in noisy.findings}


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name.startswith("mr_")])
def test_mr_artefacts_are_named(folder: str) -> None:
    ghosted = _degraded(folder, lambda p: p + 0.15 * np.roll(p, p.shape[0] // 2, axis=0))
    assert ghosted.findings[0].text.startswith("ghosting along columns")
    clipped = _degraded(folder, lambda p: np.minimum(p, np.quantile(p, 0.97)))
    assert Artefact.CLIPPING in {finding.artefact for finding in clipped.findings}
    blurred = _degraded(folder, lambda p: ndimage.gaussian_filter(p, 2.5))
    assert Artefact.BLUR in {finding.artefact for finding in blurred.findings}
