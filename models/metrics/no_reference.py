"""Natural-scene statistics: BRISQUE's 36 features, and NIQE, the distance from a model of clean images.

Mittal, Moorthy & Bovik 2012 (BRISQUE), Mittal, Soundararajan & Bovik 2013 (NIQE). No model of clean images is
shipped: `NiqeModel.fit` makes one from a house's own good images.

Deviations:
- BRISQUE gives features only; the paper's regression was fitted to photographs.
- BRISQUE leaves flat pixels out, NIQE patches that are flat by more than half: the air
  around a body has no statistics.
- Products of neighbours in a NIQE patch stop at its edge; the published code wraps them around.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import ndimage
from scipy.special import gamma

from models.weights_file import WeightsError

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

FEATURES = 36  #: of an image (BRISQUE) or a patch (NIQE): 18 at full size, 18 at half

_SHAPES = np.arange(0.2, 10, 0.005)
_RATIOS = gamma(1 / _SHAPES) * gamma(3 / _SHAPES) / gamma(2 / _SHAPES) ** 2
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_TEXTURED = 0.5  # local deviation, in gray levels of 255, above which a pixel counts


def brisque_features(image: Image) -> Floats:
    """(36,) features of a gray image (H, W) in [0, 1], at full and half size; flat parts are left out.

    Source: Mittal, Moorthy & Bovik 2012, section III.A, natural scene statistics in the spatial domain.
    """
    found = []
    scaled = image.astype(np.float64) * 255
    for _ in range(2):
        normal, spread = _normalised(scaled)
        textured = spread > _TEXTURED
        if textured.sum() < 100:
            textured = np.ones_like(textured)
        found += _symmetric(normal[textured])
        for shift in _SHIFTS:
            found += _asymmetric((normal * np.roll(normal, shift, (0, 1)))[textured])
        scaled = ndimage.zoom(scaled, 0.5, order=1)
    return np.array(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NiqeModel:
    """What clean images look like: one Gaussian of the features of their sharp patches.

    Source: Mittal, Soundararajan & Bovik 2013, section II.D, multivariate Gaussian model.
    """

    mean: Floats  #: (36,)
    covariance: Floats  #: (36, 36)
    patch: int = 96  #: pixels a side, at full size; even

    def __post_init__(self) -> None:
        if self.patch < 16 or self.patch % 2:
            raise ValueError(f"patch {self.patch} is not an even number from 16")
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(
                f"mean {self.mean.shape} and covariance {self.covariance.shape}; expected {FEATURES} features"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("mean or covariance contain NaN or infinity; fit again")

    @classmethod
    def fit(cls, images: Iterable[Image], *, patch: int = 96, sharpness: float = 0.75) -> Self:
        """From clean gray images (H, W) in [0, 1], patches below `sharpness` of an image's sharpest left out.

        Raises ValueError for an image that is no such image or smaller than a patch, and when all of them
        together have fewer sharp patches than features.
        Source: Mittal, Soundararajan & Bovik 2013, section II.B, patch selection, and II.D.
        """
        rows = []
        for image in images:
            features, sharp = niqe_features(image, patch)
            rows.append(features[sharp >= sharpness * sharp.max()])
        found = np.concatenate(rows) if rows else np.empty((0, FEATURES))
        if len(found) <= FEATURES:
            raise ValueError(f"{len(found)} sharp patches of {patch} pixels; more than {FEATURES} are needed")
        return cls(mean=found.mean(axis=0), covariance=np.cov(found, rowvar=False), patch=patch)

    def score(self, image: Image) -> float:
        """Distance from the clean images, from 0, lower is better; image: (H, W) gray in [0, 1].

        Raises ValueError for an image that is no such image, smaller than a patch, or flat.
        Source: Mittal, Soundararajan & Bovik 2013, section II.E, NIQE index.
        """
        found, _ = niqe_features(image, self.patch)
        spread = np.cov(found, rowvar=False) if len(found) > 1 else np.zeros_like(self.covariance)
        away = self.mean - found.mean(axis=0)
        inverse = np.linalg.pinv((self.covariance + spread) / 2)
        return float(np.sqrt(max(away @ inverse @ away, 0.0)))

    def save(self, path: Path) -> None:
        """As a safetensors file."""
        tensors = {
            "mean": np.ascontiguousarray(self.mean),
            "covariance": np.ascontiguousarray(self.covariance),
        }
        save_file(tensors, path, {"niqe": json.dumps({"patch": self.patch})})

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote. Raises WeightsError when the file is no such model."""
        try:
            with safe_open(path, framework="numpy") as opened:
                mean, covariance = opened.get_tensor("mean"), opened.get_tensor("covariance")
                options = json.loads((opened.metadata() or {})["niqe"])
            return cls(
                mean=mean.astype(float), covariance=covariance.astype(float), patch=int(options["patch"])
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"{path.name} is no NIQE model ({error}); fit one and save it") from error


def niqe_features(image: Image, patch: int = 96) -> tuple[Floats, Floats]:
    """Features (P, 36) and sharpness (P,) of the patches of a gray image (H, W) in [0, 1] that are not flat.

    Sharpness is the mean local deviation in gray levels of 255. Raises ValueError for another shape or
    range, NaN, an image smaller than a patch, or one without texture.
    Source: Mittal, Soundararajan & Bovik 2013, sections II.A-II.C, characterizing image patches.
    """
    if image.ndim != 2 or min(image.shape) < patch:
        raise ValueError(f"image has shape {image.shape}; expected (H, W), each at least {patch}")
    if not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
        raise ValueError(f"image lies in [{image.min():.3g}, {image.max():.3g}]; expected [0, 1]")
    rows, columns = (side // patch * patch for side in image.shape)
    scaled = image[:rows, :columns].astype(np.float64) * 255
    full, spread = _normalised(scaled)
    half, _ = _normalised(_halved(scaled))
    sharp = _patches(spread, patch).mean(axis=(1, 2))
    textured = _patches((spread > _TEXTURED).astype(np.float64), patch).mean(axis=(1, 2)) >= 0.5
    if not textured.any():
        raise ValueError("image has no texture; there is nothing to take statistics of")
    pairs = zip(_patches(full, patch)[textured], _patches(half, patch // 2)[textured], strict=True)
    return np.array([_niqe(large) + _niqe(small) for large, small in pairs]), sharp[textured]


def _normalised(scaled: Floats) -> tuple[Floats, Floats]:
    """Locally normalised gray levels, and the local deviation."""
    mean = ndimage.gaussian_filter(scaled, 7 / 6, truncate=3)
    spread = np.sqrt(np.abs(ndimage.gaussian_filter(scaled**2, 7 / 6, truncate=3) - mean**2))
    return (scaled - mean) / (spread + 1), spread


def _halved(scaled: Floats) -> Floats:
    tensor = torch.from_numpy(scaled)[None, None]
    small = torch.nn.functional.interpolate(tensor, scale_factor=0.5, mode="bicubic", antialias=True)
    return np.asarray(small[0, 0].numpy())


def _patches(values: Floats, side: int) -> Floats:
    """(H, W) -> (P, side, side), row by row."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    cut = values.reshape(rows, side, columns, side).swapaxes(1, 2)
    return cut.reshape(-1, side, side)


def _niqe(normal: Floats) -> list[float]:
    shape, _, left, right = _asymmetric(normal)
    found = [shape, (np.sqrt(left) + np.sqrt(right)) / 2 * _scale(shape)]
    height, width = normal.shape
    for down, across in _SHIFTS:
        first = normal[: height - down, max(-across, 0) : width - max(across, 0)]
        second = normal[down:, max(across, 0) : width - max(-across, 0)]
        shape, mean, left, right = _asymmetric(first * second)
        found += [shape, mean, np.sqrt(left) * _scale(shape), np.sqrt(right) * _scale(shape)]
    return [float(value) for value in found]


def _scale(shape: float) -> float:
    """From a generalised Gaussian's deviation to its scale parameter."""
    return float(np.sqrt(gamma(1 / shape) / gamma(3 / shape)))


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
