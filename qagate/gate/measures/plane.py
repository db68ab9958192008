"""One slice prepared for measuring: cleaned pixels, body and air masks. Measures nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qagate.image import SliceImage

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

BLOCK = 4  #: masks are made on means of BLOCK x BLOCK pixels: fast, and noise does not fray them
CT_BODY_HU = -400.0  #: between air and lung edge on one side, fat on the other
BODY_LEVEL = 0.2  #: of the way from background to signal; above ghosts, below dark tissue
MINIMUM_SIDE = 32  #: smaller images carry no measurable structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Cleaned slice.

    pixels: (rows, columns) float32, finite; valid: where the scanner stored image;
    body, air: bool, None when the slice holds neither clearly; signal: mean of the bright body.
    """

    pixels: Floats
    valid: Bools
    body: Bools | None
    air: Bools | None
    signal: float


def plane_of(image: SliceImage) -> Plane | None:
    """The slice ready to measure; None when it is too small or constant."""
    pixels = np.asarray(image.pixels, dtype=np.float32)
    if pixels.ndim != 2 or min(pixels.shape) < MINIMUM_SIDE:
        return None
    valid = np.isfinite(pixels)
    if image.valid is not None:
        valid &= image.valid
    if not valid.any():
        return None
    if not valid.all():
        pixels = np.where(valid, pixels, pixels[valid].min())
    if not pixels.max() > pixels.min():
        return None
    return _with_masks(pixels, valid, image.header.modality == "CT")


def _with_masks(pixels: Floats, valid: Bools, is_ct: bool) -> Plane:
    coarse = block_means(pixels, BLOCK)
    coarse_valid = np.ones(coarse.shape, dtype=np.bool_)
    if not valid.all():
        coarse_valid = block_means(valid.astype(np.float32), BLOCK) > 0.99
    level, signal = _body_level(coarse[coarse_valid] if coarse_valid.any() else coarse.ravel(), is_ct)
    inside = ndimage.binary_opening(coarse > level, iterations=2, border_value=0) if is_ct else coarse > level
    inside = _largest(inside)
    if not is_ct:
        inside = ndimage.binary_opening(np.pad(inside, 2, mode="edge"), iterations=1)[2:-2, 2:-2]
    inside = ndimage.binary_fill_holes(inside)
    if inside.mean() < 0.01:
        return Plane(pixels=pixels, valid=valid, body=None, air=None, signal=signal)
    outside = ~ndimage.binary_dilation(inside, iterations=2) & coarse_valid
    air = _enlarge(outside, pixels.shape) & valid if outside.mean() > 0.02 else None
    return Plane(
        pixels=pixels, valid=valid, body=_enlarge(inside, pixels.shape) & valid, air=air, signal=signal
    )


def _body_level(values: Floats, is_ct: bool) -> tuple[float, float]:
    split = otsu(values)
    bright = values[values > split]
    signal = float(bright.mean()) if bright.size else float(values.max())
    if is_ct:
        return CT_BODY_HU, signal
    background = float(np.mean(values[values <= np.quantile(values, 0.1)]))
    return background + BODY_LEVEL * (signal - background), signal


def _largest(mask: Bools) -> Bools:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= 0.1 * sizes.max()  # both legs, both arms
    return np.asarray(keep[labels], dtype=np.bool_)


def _enlarge(coarse: Bools, shape: tuple[int, ...]) -> Bools:
    fine = coarse.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    rest = ((0, shape[0] - fine.shape[0]), (0, shape[1] - fine.shape[1]))
    return np.pad(fine, rest, mode="edge")


def block_means(pixels: Floats, side: int) -> Floats:
    """Means of side x side blocks; the rest at the right and lower border is left out."""
    return reduce_blocks(np.add, pixels, side) / np.float32(side * side)


def reduce_blocks(reducer: np.ufunc, values: Floats, side: int) -> Floats:
    """Reduce side x side blocks; rows first, as whole rows go through the processor's vector unit."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    bands = values[: rows * side, : columns * side].reshape(rows, side, columns * side)
    strips = reducer.reduce(bands, axis=1).reshape(rows, columns, side)
    return np.asarray(reducer.reduce(strips, axis=2), dtype=np.float32)


def otsu(values: Floats) -> float:
    """The threshold with the largest between-class variance, 256 bins (Otsu 1979)."""
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    if not high > low:
        return low
    counts, edges = np.histogram(values, bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    first = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (first[-1] * weight / weight[-1] - first) ** 2 / (weight * (weight[-1] - weight))
    return float(centres[int(np.nanargmax(between[:-1]))])
