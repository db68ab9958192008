"""BRISQUE's 36 features (Mittal, Moorthy & Bovik 2012), retrained here as a rival of the default model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import gamma

Floats = npt.NDArray[np.float64]

_SHAPES = np.arange(0.2, 10, 0.005)
_RATIOS = gamma(1 / _SHAPES) * gamma(3 / _SHAPES) / gamma(2 / _SHAPES) ** 2
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


def brisque_features(image: npt.NDArray[np.float32]) -> Floats:
    """(36,) features of a gray image (H, W) in [0, 1], at full and half size; flat parts are left out."""
    found = []
    scaled = image.astype(np.float64) * 255
    for _ in range(2):
        mean = ndimage.gaussian_filter(scaled, 7 / 6, truncate=3)
        spread = np.sqrt(np.abs(ndimage.gaussian_filter(scaled**2, 7 / 6, truncate=3) - mean**2))
        normal = (scaled - mean) / (spread + 1)
        textured = spread > 0.5
        if textured.sum() < 100:
            textured = np.ones_like(textured)
        found += _symmetric(normal[textured])
        for shift in _SHIFTS:
            found += _asymmetric((normal * np.roll(normal, shift, (0, 1)))[textured])
        scaled = ndimage.zoom(scaled, 0.5, order=1)
    return np.array(found)


def _symmetric(values: Floats) -> list[float]:
    variance = float(np.mean(values**2)) + 1e-12
    ratio = variance / (float(np.mean(np.abs(values))) ** 2 + 1e-12)
    return [float(_SHAPES[np.argmin(np.abs(_RATIOS - ratio))]), variance]


def _asymmetric(values: Floats) -> list[float]:
    left = np.sqrt(np.mean(values[values < 0] ** 2)) if (values < 0).any() else 1e-6
    right = np.sqrt(np.mean(values[values > 0] ** 2)) if (values > 0).any() else 1e-6
    balance = left / right
    ratio = np.mean(np.abs(values)) ** 2 / (np.mean(values**2) + 1e-12)
    ratio *= (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shape = _SHAPES[np.argmin(np.abs(1 / _RATIOS - ratio))]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    mean = (right - left) * scale * gamma(2 / shape) / gamma(1 / shape)
    return [float(shape), float(mean), float(left**2), float(right**2)]
