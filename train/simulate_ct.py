"""CT artefacts on images (rows, columns) float32 in Hounsfield units; severity 0 to 5.

Parallel beam over the square that holds the image, a circular scan field, water at 0.2 per centimetre.
Without a pixel size the image is taken to be `FIELD_MM` wide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from train.projector import Projector, projector

Array = npt.NDArray[np.float32]
Rng = np.random.Generator

FIELD_MM = 380.0
MU_WATER = 0.02  #: per mm
BONE_HU = 250.0
MAX_ATTENUATION = 6.5  #: line integrals are scaled down to this, as tube current modulation does


def _ladder(severity: float, first: float, last: float) -> float:
    """A geometric ladder: `first` at severity 1, `last` at severity 5."""
    return float(first * (last / first) ** ((severity - 1) / 4)) * min(severity, 1.0)


def _attenuation(image: Array) -> tuple[Array, tuple[slice, slice]]:
    """(size, size) linear attenuation a pixel, 0 outside the scan circle; and where the image lies in it."""
    rows, columns = image.shape
    size = max(rows, columns)
    size += size % 2
    top, left = (size - rows) // 2, (size - columns) // 2
    where = (slice(top, top + rows), slice(left, left + columns))
    square = np.zeros((size, size), np.float32)
    square[where] = np.clip(image / 1000 + 1, 0, 4) * (MU_WATER * FIELD_MM / size)
    y, x = np.ogrid[:size, :size]
    inside = (y - size / 2) ** 2 + (x - size / 2) ** 2 <= (size / 2) ** 2
    return square * inside, where


def _with_change(image: Array, change: Callable[[Projector, Array], Array]) -> Array:
    """The image plus the reconstruction of `change(projector, attenuation)`, in HU."""
    attenuation, where = _attenuation(image)
    size = attenuation.shape[0]
    delta = change(projector(size, _views(size)), attenuation)[where]
    return np.maximum(image + delta * (1000 * size / (MU_WATER * FIELD_MM)), -1024).astype(np.float32)


def _views(size: int) -> int:
    return int(np.ceil(size * 1.4 / 60)) * 60


def dose_noise(image: Array, severity: float, rng: Rng) -> Array:
    """Poisson counts and electronic noise at a falling dose: about 12 to 200 HU in the centre of a body."""
    wanted = _ladder(severity, 12.0, 200.0)

    def change(p: Projector, attenuation: Array) -> Array:
        lines = p.sinogram(p.spokes(attenuation))
        lines = np.clip(lines, 0, None)
        lines *= min(1.0, MAX_ATTENUATION / (float(lines.max()) + 1e-6))
        central = np.exp(lines[:, p.size - p.size // 8 : p.size + p.size // 8])
        pixel = MU_WATER * FIELD_MM / p.size
        variance = (wanted / 1000 * pixel) ** 2
        photons = float(central.mean()) * np.pi**2 / 12 / p.views / variance
        expected = photons * np.exp(-lines)
        counts = rng.poisson(expected) + rng.standard_normal(lines.shape) * 3.0
        error = -np.log(np.maximum(counts, 0.7) / photons) - lines
        return p.reconstruct(p.spectrum(error.astype(np.float32)))

    return _with_change(image, change)


def sparse_views(image: Array, severity: float, rng: Rng) -> Array:
    """Only 1/2 to 1/14 of the views a 512-pixel scan has: streaks from every edge."""
    del rng

    def change(p: Projector, attenuation: Array) -> Array:
        spokes = p.spokes(attenuation)
        kept = max(round(p.views / _ladder(max(severity, 1.0), 2.0, 14.0)), 8)
        index = np.unique(np.round(np.arange(kept) * p.views / kept).astype(int) % p.views)
        gaps = np.diff(np.append(index, index[0] + p.views))
        weights = np.zeros(p.views)
        weights[index] = (gaps + np.roll(gaps, 1)) / 2 / p.views
        return p.reconstruct(spokes, weights - 1 / p.views) * np.float32(min(severity, 1.0))

    return _with_change(image, change)


def rings(image: Array, severity: float, rng: Rng) -> Array:
    """Detector elements whose gain is off: a line integral too large or small in every view."""

    def change(p: Projector, attenuation: Array) -> Array:
        del attenuation
        gain = rng.standard_normal(p.detectors) * 0.25
        bad = rng.choice(np.arange(p.size - p.size // 2 + 4, p.size + p.size // 2 - 4), 8, replace=False)
        gain[bad] += rng.choice([-1, 1], len(bad)) * rng.uniform(2, 4, len(bad))
        error = np.tile(gain.astype(np.float32) * _ladder(severity, 0.005, 0.08) * 256 / p.size, (p.views, 1))
        return p.reconstruct(p.spectrum(error))

    return _with_change(image, change)


def motion(image: Array, severity: float, rng: Rng) -> Array:
    """The patient shifts during the rotation, by 0.7 to 9 mm, smoothly over a part of the views."""
    heading, start = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.6)

    def change(p: Projector, attenuation: Array) -> Array:
        spokes = p.spokes(attenuation)
        time = np.arange(p.views) / p.views
        moved = np.clip((time - start) / 0.25, 0, 1) * _ladder(severity, 0.7, 9.0) * p.size / FIELD_MM
        along = moved * (np.cos(p.angles) * np.cos(heading) + np.sin(p.angles) * np.sin(heading))
        phase = np.exp(-2j * np.pi * p.frequencies[None, :] * along[:, None])
        return p.reconstruct((spokes * (phase - 1)).astype(np.complex64))

    return _with_change(image, change)


def beam_hardening(image: Array, severity: float, rng: Rng) -> Array:
    """Dark bands between bones and cupping: line integrals lose what a second-order model says."""
    mix = rng.uniform(0.5, 1.0)

    def change(p: Projector, attenuation: Array) -> Array:
        amount = _ladder(severity, 0.025, 0.3)
        pixel = MU_WATER * FIELD_MM / p.size
        bone = attenuation * (attenuation > (1 + BONE_HU / 1000) * pixel)
        through_bone = np.clip(p.sinogram(p.spokes(bone)), 0, None)
        whole = np.clip(p.sinogram(p.spokes(attenuation)), 0, None)
        error = -amount * (mix * through_bone * whole / 2 + 0.15 * whole * (whole - whole.max()) / 2)
        return p.reconstruct(p.spectrum(error.astype(np.float32)))

    return _with_change(image, change)


def blur(image: Array, severity: float, rng: Rng) -> Array:
    """Gaussian blur, sigma 0.8 to 4.5 pixels of a 512-pixel image."""
    del rng
    sigma = _ladder(severity, 0.8, 4.5) * max(max(image.shape) / 512, 0.6)
    return np.asarray(ndimage.gaussian_filter(image, sigma), dtype=np.float32)
