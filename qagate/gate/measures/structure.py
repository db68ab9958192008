"""Sharpness, ghosts, focus, clipping, shading and cut-off anatomy of one slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from qagate.gate.measures.plane import Bools, Floats, Plane, block_means, reduce_blocks

EDGE_BLOCK = 16  #: side of the neighbourhood in which an edge's height and slope are compared
EDGE_HEIGHT = 0.35  #: of the slice's intensity range: lower edges are texture
SHADING_BLOCK = 8
GHOST_FRACTIONS = (2, 3, 4, 5)  #: ghosts stand at the field of view divided by these
LAG_NEAR, LAG_FAR = 3, 8  #: pixels from the expected displacement where neighbours begin and end
SMALLEST_AIR = 0.005  #: of the slice; smaller regions of air give no mean worth having

Doubles = npt.NDArray[np.float64]


def edge_sharpness_per_px(plane: Plane) -> float | None:
    """Median over strong edges of steepest slope / height of the edge, per pixel.

    The reciprocal of the edge width (Marziliano et al., ICIP 2002): 1/(s sqrt(2 pi)) for a step
    blurred by a Gaussian of sd s. Central differences hold it at 0.5 for a perfect step.
    """
    pixels = plane.pixels
    low, high = _range_of(block_means(pixels, 2))
    down = np.abs(pixels[2:, 1:-1] - pixels[:-2, 1:-1])
    across = np.abs(pixels[1:-1, 2:] - pixels[1:-1, :-2])
    slope = reduce_blocks(np.maximum, np.maximum(down, across), EDGE_BLOCK) / 2
    inner = pixels[1:-1, 1:-1]
    height = reduce_blocks(np.maximum, inner, EDGE_BLOCK) - reduce_blocks(np.minimum, inner, EDGE_BLOCK)
    strong = height > EDGE_HEIGHT * (high - low)
    if int(strong.sum()) < 8:
        return None
    return float(np.median(slope[strong] / height[strong]))


def _range_of(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.01, 0.99))
    return float(low), float(high)


def ghost_ratios(plane: Plane) -> tuple[float, float] | None:
    """Ghost-to-signal ratio along columns and along rows, each >= 0.

    Mean air above and below the body less mean air beside it, over the mean signal (ACR MRI
    Quality Control Manual 2015, percent signal ghosting, signed; Giannelli et al., J Appl Clin Med
    Phys 2010;11:3237).
    """
    if plane.air is None or plane.body is None or plane.signal <= 0:
        return None
    columns: Bools = np.any(plane.body, axis=0)
    rows: Bools = np.any(plane.body, axis=1)
    half_columns, half_rows = _shadow(plane.body, axis=0), _shadow(plane.body, axis=1)
    # Ghosts at any displacement fill the strips beyond the body; those at half the field of view
    # fill the body's shadow there, which dilutes them less.
    excesses = [
        _mean_excess(plane, columns[None, :] & ~rows[:, None], rows[:, None] & ~columns[None, :]),
        _mean_excess(plane, half_columns & ~half_rows, half_rows & ~half_columns),
    ]
    known = [excess / plane.signal for excess in excesses if excess is not None]
    if not known:
        return None
    return max(*known, 0.0), max(*(-excess for excess in known), 0.0)


def _mean_excess(plane: Plane, first: Bools, second: Bools) -> float | None:
    """Mean air in the first region less mean air in the second; None when one is too small."""
    if plane.air is None:
        return None
    first, second = first & plane.air, second & plane.air
    fewest = SMALLEST_AIR * plane.air.size
    if min(int(first.sum()), int(second.sum())) < fewest:
        return None
    return float(plane.pixels[first].mean() - plane.pixels[second].mean())


def _shadow(body: Bools, axis: int) -> Bools:
    """Where the body would stand when displaced by half the field of view along an axis."""
    return np.roll(body, body.shape[axis] // 2, axis=axis)


def ghost_correlations(plane: Plane) -> tuple[float, float]:
    """Repetition of the fine structure at FOV/2 to FOV/5 along columns and along rows, 0 to 1.

    Circular autocorrelation of the high-pass image over its value at zero, less that of
    neighbouring displacements; finds ghosts that lie on the body, where air cannot show them.
    """
    smooth = ndimage.uniform_filter(plane.pixels, 5)
    fine = plane.pixels - smooth
    fine -= fine.mean()
    return _repetition(fine), _repetition(np.ascontiguousarray(fine.T))


def _repetition(fine: Floats) -> float:
    length = fine.shape[0]
    spectrum = fft.rfft(fine, axis=0)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
    correlation: Doubles = fft.irfft(power, n=length).astype(np.float64)
    if correlation[0] <= 0:
        return 0.0
    correlation /= correlation[0]
    best = 0.0
    for divisor in GHOST_FRACTIONS:
        centre = length / divisor
        lags = np.arange(max(int(centre) - LAG_FAR, 1), min(int(centre) + LAG_FAR + 2, length))
        away = np.abs(lags - centre)
        near, neighbours = away <= 1.0, away > LAG_NEAR
        if near.any() and neighbours.any():
            values = correlation[lags]
            best = max(best, float(values[near].max() - np.abs(values[neighbours]).max()))
    return best


def entropy_focus(plane: Plane) -> float | None:
    """Entropy of the pixel energies over its largest possible value, 0 to 1.

    Atkinson et al., IEEE TMI 1997;16:903; rises when ghosts, blur or noise spread the energy.
    """
    values = plane.pixels - min(float(plane.pixels.min()), 0.0)
    energy = float(np.sqrt(np.einsum("ij,ij->", values, values, dtype=np.float64)))
    if energy <= 0:
        return None
    shares = values / np.float32(energy)
    shares = shares[shares > 0]
    entropy = -float(np.dot(shares, np.log(shares)))
    largest = np.sqrt(plane.pixels.size) * np.log(np.sqrt(plane.pixels.size))
    return entropy / float(largest)


def clipping_fraction(plane: Plane, storable: tuple[float, float] | None) -> float:
    """Share of the body's pixels at the largest storable value, or heaped at the slice's largest.

    A single brightest pixel is no heap; the count less one is taken.
    """
    where = plane.body if plane.body is not None else plane.valid
    values = plane.pixels[where]
    top = float(plane.pixels[plane.valid].max())
    if storable is not None and storable[1] > storable[0]:
        top = min(top, storable[1])
    heap = int(np.count_nonzero(values >= top))
    return max(heap - 1, 0) / values.size


def uniformity_percent(plane: Plane) -> float | None:
    """100 (1 - (high - low) / (high + low)) of the smoothed bright tissue, as the ACR's PIU.

    The extremes are the 5th and 95th percentile of block means, so that anatomy does not set them.
    """
    if plane.body is None:
        return None
    inner = ndimage.binary_erosion(block_means(plane.body.astype(np.float32), SHADING_BLOCK) > 0.999)
    means = block_means(plane.pixels, SHADING_BLOCK)
    values = means[inner & (means > 0.5 * plane.signal)]
    if values.size < 30 or plane.signal <= 0:
        return None
    low, high = np.quantile(values, (0.05, 0.95))
    return float(100 * (1 - (high - low) / (high + low)))


def fov_truncation_fraction(plane: Plane) -> float | None:
    """Share of the rim of the stored image that the body touches, 0 to 1."""
    if plane.body is None:
        return None
    rim = np.zeros(plane.valid.shape, dtype=np.bool_)
    rim[[0, 1, -2, -1], :] = True
    rim[:, [0, 1, -2, -1]] = True
    if not plane.valid.all():
        coarse = np.pad(plane.valid, 1, constant_values=False)
        rim = plane.valid & ~ndimage.binary_erosion(coarse, iterations=2)[1:-1, 1:-1]
    touched = plane.body & rim
    return float(touched.sum() / max(int(rim.sum()), 1))
