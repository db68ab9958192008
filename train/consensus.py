"""Quality labels without readers: four full-reference metrics against the clean original, rank-averaged.

GMSD (Xue et al. 2014), MCSD (Wang et al. 2016), HaarPSI (Reisenhofer et al. 2018) and IW-SSIM (Wang & Li
2011), on the network's working pixels, inside the body only. Such labels are capped by these teachers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, stats
from torch import Tensor

from models.compat import mend_torchvision
from models.inputs import working_pixels
from models.metrics.full_reference import MCSD_WEIGHTS, contrast_similarities

mend_torchvision()  # piq imports torchvision

import piq  # noqa: E402

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TEACHERS = ("gmsd", "mcsd", "haarpsi", "iw_ssim")  #: each turned so that higher is better
CT_LABEL_WINDOW_HU = (-160.0, 240.0)


def body_mask(reference: Array, modality: str) -> Mask:
    """Where the body is: above -500 HU, or above a tenth of the bright level; holes filled, dilated."""
    threshold = -500.0 if modality == "CT" else 0.1 * float(np.percentile(reference, 99))
    mask = ndimage.binary_opening(reference > threshold, iterations=1)
    mask = ndimage.binary_dilation(ndimage.binary_fill_holes(mask), iterations=2)
    return np.asarray(mask if mask.mean() > 0.02 else np.ones_like(mask), dtype=bool)


def teach(reference: Array, degraded: Array, modality: str) -> Mapping[str, float]:
    """Teacher -> similarity to the reference, higher is better; both images in physical units."""
    clean, broken = working_pixels(reference), working_pixels(degraded)
    mask = body_mask(clean, modality)
    low, high = CT_LABEL_WINDOW_HU
    if modality != "CT":
        low, high = (float(v) for v in np.percentile(clean, (1.0, 99.5)))
    x, y = (np.clip((image - low) / (high - low + 1e-9), 0, 1) for image in (clean, broken))
    y = np.where(mask, y, x)
    rows, columns = (slice(s.start, s.stop) for s in ndimage.find_objects(mask.astype(int))[0])
    box = (slice(None), slice(None))
    if min(rows.stop - rows.start, columns.stop - columns.start) >= 96:
        box = (rows, columns)
    first, second = (
        torch.from_numpy(np.ascontiguousarray(i[box], dtype=np.float32))[None, None] for i in (x, y)
    )
    inside = torch.from_numpy(mask[box])
    return {
        "gmsd": -_gmsd(first, second, inside),
        "mcsd": -_mcsd(first, second, inside),
        "haarpsi": float(piq.haarpsi(first, second, data_range=1.0)),
        "iw_ssim": _iw_ssim(first, second),
    }


def consensus(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, teachers) similarities -> (N,) mean rank scaled to 0 (worst) to 1 (best); ties share a rank."""
    ranks = np.stack([stats.rankdata(column) for column in values.T], axis=1).mean(axis=1)
    return np.asarray((ranks - 1) / max(len(ranks) - 1, 1))


def agree(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> bool:
    """Whether all teachers put `first` and `second` (each (teachers,)) in the same order."""
    signs = np.sign(np.round(first - second, 6))
    return bool(np.all(signs >= 0) or np.all(signs <= 0))


def _gmsd(x: Tensor, y: Tensor, inside: Tensor) -> float:
    """Gradient magnitude similarity deviation on 2x2 means, inside the mask."""
    x, y = (torch.nn.functional.avg_pool2d(i, 2) for i in (x, y))
    prewitt = torch.tensor([[1.0, 0, -1]] * 3)[None, None] / 3
    kernel = torch.cat([prewitt, prewitt.transpose(2, 3)])
    gx, gy = (torch.nn.functional.conv2d(i, kernel, padding=1).square().sum(1).sqrt()[0] for i in (x, y))
    constant = 170 / 255**2
    similarity = (2 * gx * gy + constant) / (gx**2 + gy**2 + constant)
    return float(similarity[_shrunk(inside, similarity.shape)].std(correction=0))


def _mcsd(x: Tensor, y: Tensor, inside: Tensor) -> float:
    """Multi-scale contrast similarity deviation, three scales, inside the mask."""
    total = 1.0
    for weight, similarity in zip(MCSD_WEIGHTS, contrast_similarities(x, y), strict=True):
        there = similarity[0, 0][_shrunk(inside, similarity.shape[2:])]
        total *= float(there.std(correction=0) + 1e-6) ** weight
    return total


def _shrunk(inside: Tensor, shape: torch.Size) -> Tensor:
    small = torch.nn.functional.interpolate(inside[None, None].float(), size=tuple(shape), mode="nearest")
    return small[0, 0] > 0.5


def _iw_ssim(x: Tensor, y: Tensor) -> float:
    """IW-SSIM with as many of its five scales as the image's size allows."""
    weights = torch.tensor([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    scales = 5
    while scales > 1 and min(x.shape[2:]) <= (11 - 1) * 2 ** (scales - 1):
        scales -= 1
    return float(piq.information_weighted_ssim(x, y, data_range=1.0, scale_weights=weights[:scales]))
