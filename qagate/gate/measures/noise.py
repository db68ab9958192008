"""Noise in homogeneous tissue and in air, and what follows from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qagate.gate.measures.plane import Bools, Floats, Plane, block_means

SOFT_TISSUE_HU = (-150.0, 250.0)
REGION_MM = 9.5  #: side of the region of interest: 21 pixels of a head scan
REGION_PIXELS = (9, 25)  #: smallest and largest side of a region
RAYLEIGH_SD = 0.6551  #: sqrt(2 - pi/2), sd of a Rayleigh magnitude for unit Gaussian channels
CELL = 3  #: a third of a region's side where the pixel size is not used
FEWEST_REGIONS = 6
CT_FLOOR = 0.05  #: share of air at the smallest value above which its lower tail is cut off
MAGNITUDE_FLOOR = 0.3  #: the same for magnitudes, whose smallest value is an ordinary one
BLANK = 1e-6  #: sd of air that was set to one value

Doubles = npt.NDArray[np.float64]


def tissue_noise_hu(plane: Plane, spacing_mm: float | None) -> float | None:
    """Global noise level of CT: the lowest mode of the local sd over soft-tissue regions, in HU.

    Christianson et al., AJR 2015;205:W93 take the mode of the sd map of soft tissue; the lowest
    strong mode is taken here, so that a few homogeneous inserts are enough.
    """
    side = REGION_MM / spacing_mm if spacing_mm else REGION_PIXELS[0]
    cell = round(float(np.clip(side, *REGION_PIXELS)) / 3)
    means, variances = _cells(plane.pixels, cell)
    soft = (means > SOFT_TISSUE_HU[0]) & (means < SOFT_TISSUE_HU[1]) & _all_of(plane.valid, cell)
    return lowest_mode(_region_sds(means, variances, soft, cell))


def tissue_noise(plane: Plane) -> float | None:
    """Sd of white noise inside the body: Immerkaer's difference mask, lowest mode over regions.

    Immerkaer, Comput Vis Image Underst 1996;64:300. The mask [1 -2 1] x [1 -2 1] is blind to
    planes and straight edges along the axes; noise smoothed by interpolation reads too low.
    """
    if plane.body is None:
        return None
    pixels = plane.pixels
    rows = pixels[:-2] - 2 * pixels[1:-1] + pixels[2:]
    residual = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    means, variances = _cells(residual, CELL)
    mode = lowest_mode(_region_sds(means, variances, _all_of(plane.body[1:-1, 1:-1], CELL), CELL))
    return None if mode is None else mode / 6.0


def air_noise(plane: Plane, is_magnitude: bool) -> float | None:
    """Sd of the noise from air outside the body: the lowest mode of the regions' sd.

    is_magnitude: the sd is divided by 0.655 (Rayleigh; Dietrich et al., JMRI 2007;26:375).
    None where the scanner has blanked the air or cut it off at its smallest value.
    """
    if plane.air is None:
        return None
    floor = np.mean(plane.pixels[plane.air] <= plane.pixels.min())
    if floor > (MAGNITUDE_FLOOR if is_magnitude else CT_FLOOR):
        return None
    means, variances = _cells(plane.pixels, CELL)
    sds = _region_sds(means, variances, _all_of(plane.air, CELL), CELL)
    mode = lowest_mode(sds)
    if mode is None:
        return None
    return mode / RAYLEIGH_SD if is_magnitude else mode


def _cells(pixels: Floats, side: int) -> tuple[Doubles, Doubles]:
    """Mean and mean squared deviation of each side x side cell; the rest at the border is left out."""
    means = block_means(pixels, side)
    fine = means.repeat(side, axis=0).repeat(side, axis=1)
    deviations = pixels[: fine.shape[0], : fine.shape[1]] - fine
    variances = block_means(deviations * deviations, side)
    return means.astype(np.float64), variances.astype(np.float64)


def _all_of(mask: Bools, side: int) -> Bools:
    return block_means(mask.astype(np.float32), side) > 1 - 0.5 / side**2


def _region_sds(means: Doubles, variances: Doubles, wanted: Bools, side: int) -> Doubles:
    """Sd about the fitted plane of every region of 3 x 3 cells that are all wanted, one cell apart.

    The plane takes slow shading (bias field, cupping) out; its own variance over the region is
    0.75 squared slopes a cell.
    """
    if min(means.shape) < 3:
        return np.empty(0)
    keep = _nine(wanted.astype(np.float64))[1:-1, 1:-1] > 8.5 / 9
    values = means - means[wanted].mean() if wanted.any() else means
    between = _nine(values * values) - _nine(values) ** 2
    variance = (_nine(variances) + between)[1:-1, 1:-1]
    down, across = _slopes(values)
    left = np.maximum(variance - 0.75 * (down**2 + across**2), 0.0)[keep]
    count = 9 * side * side
    return np.asarray(np.sqrt(left * count / (count - 3)))


def _slopes(means: Doubles) -> tuple[Doubles, Doubles]:
    """Least-squares slopes of 3 x 3 neighbourhoods down the rows and across the columns, a cell."""
    down = (means[2:] - means[:-2]) / 2
    across = (means[:, 2:] - means[:, :-2]) / 2
    return (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / 3, (across[:-2] + across[1:-1] + across[2:]) / 3


def _nine(values: Doubles) -> Doubles:
    return np.asarray(ndimage.uniform_filter(values, 3, mode="nearest"))


def lowest_mode(sds: Doubles) -> float | None:
    """The lowest peak of the distribution of log sd that is at least half as high as the highest.

    Where anatomy leaves hardly a homogeneous region the peak is anatomy's; the tenth percentile,
    half of it or less, is nearer to the noise and is taken instead. None for too few regions.
    """
    sds = sds[sds > BLANK]
    if sds.size < FEWEST_REGIONS:
        return None
    logs = np.log(sds)
    counts, edges = np.histogram(logs, bins=np.arange(logs.min() - 0.3, logs.max() + 0.35, 0.04))
    density = ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0)
    inner = density[1:-1]
    is_peak = (inner >= density[:-2]) & (inner >= density[2:]) & (inner >= 0.5 * density.max())
    best = int(np.argmax(is_peak)) + 1
    mode = float(np.exp((edges[best] + edges[best + 1]) / 2))
    low = float(np.quantile(sds, 0.1))
    return mode if mode <= 2 * low else low
