"""Full-reference metrics on gray images: one table, one call.

Images are (N, 1, H, W) floating point in [0, 1], the reference first; every function returns (N,) in float64.
What piq has is taken from piq (extra `train`, imported at the first use); UQI, MCSD, MAD and SNR are ours.
`compare` checks its images; the functions themselves do not.

Deviations:
- SSIM is taken at the image's own size, as its paper has it; later code of its authors shrinks large images.
- MCSD's window (5 pixels), constant (0.0025) and exponents are those that the default model's labels were
  made with; they could not be compared with its authors' code.
- FSIM and SR-SIM are their gray forms, VIF its pixel-domain form (VIFP).
- Identical images have 80 dB, not infinitely many: 1e-8 is added to the mean square error.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

from models.compat import mend_torchvision
from models.metrics import mad as most_apparent
from models.output import check_images

MCSD_WEIGHTS = (0.1333, 0.2448, 0.6219)  #: exponents of MCSD's scales, finest first
_LEAST_ERROR = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table."""

    function: Callable[[Tensor, Tensor], Tensor]  #: (reference, distorted), both (N, 1, H, W) -> (N,)
    range: tuple[float, float]  #: smallest and largest value there can be
    higher_is_better: bool
    smallest: int  #: pixels a side of the smallest image
    source: str


def compare(name: str, reference: Tensor, distorted: Tensor) -> Tensor:
    """(N,) values of the metric `name` of METRICS, for images (N, 1, H, W) in [0, 1].

    Raises ValueError for an unknown name, images of other shapes, ranges or types, too small ones and flat
    references, of which several metrics say nothing, and ImportError when the metric needs piq and it is not
    installed.
    """
    if name not in METRICS:
        raise ValueError(f"metric {name!r} is unknown; known are {', '.join(METRICS)}")
    metric = METRICS[name]
    for images in (reference, distorted):
        check_images(images, (None, 1, None, None))
    if reference.shape != distorted.shape:
        raise ValueError(f"shapes {tuple(reference.shape)} and {tuple(distorted.shape)} differ")
    if min(reference.shape[2:]) < metric.smallest:
        rows, columns = reference.shape[2:]
        raise ValueError(f"images of {rows}x{columns} pixels; {name} needs {metric.smallest} a side")
    flat = reference.amax(dim=(1, 2, 3)) == reference.amin(dim=(1, 2, 3))
    if flat.any():
        raise ValueError(f"reference {int(flat.nonzero()[0])} is flat; nothing can be compared with it")
    return metric.function(reference.clamp(0, 1), distorted.clamp(0, 1))


def snr(reference: Tensor, distorted: Tensor) -> Tensor:
    """Signal to noise in dB: energy of the reference over that of the error.

    Source: MIQANet, table I, SNR.
    """
    error = (reference - distorted).double().square().mean(dim=(1, 2, 3)) + _LEAST_ERROR
    energy = reference.double().square().mean(dim=(1, 2, 3)) + _LEAST_ERROR
    return 10 * (energy / error).log10()


def psnr(reference: Tensor, distorted: Tensor) -> Tensor:
    """Peak signal to noise in dB, the peak being 1.

    Source: Wang & Bovik 2009, PSNR.
    """
    return _piq("psnr", distorted, reference)


def uqi(reference: Tensor, distorted: Tensor) -> Tensor:
    """Universal quality index in windows of 8 pixels, mean over windows, -1 to 1.

    Where both windows are flat only their means are compared; two black windows are equal.
    Source: Wang & Bovik 2002, equations 1 and 2.
    """
    x, y = reference.double(), distorted.double()
    mean_x, mean_y, xx, yy, xy = (functional.avg_pool2d(i, 8, 1) for i in (x, y, x * x, y * y, x * y))
    means, products = mean_x.square() + mean_y.square(), mean_x * mean_y
    spread, covariance = (xx - mean_x.square()) + (yy - mean_y.square()), xy - products
    flat, dark = spread < 1e-12, means < 1e-12
    structure = (2 * covariance / spread.masked_fill(flat, 1)).masked_fill(flat, 1)
    luminance = (2 * products / means.masked_fill(dark, 1)).masked_fill(dark, 1)
    return (structure * luminance).mean(dim=(1, 2, 3))


def ssim(reference: Tensor, distorted: Tensor) -> Tensor:
    """Structural similarity, Gaussian windows of 11 pixels.

    Source: Wang et al. 2004, section III.B, equation 13.
    """
    return _piq("ssim", distorted, reference, downsample=False)


def ms_ssim(reference: Tensor, distorted: Tensor) -> Tensor:
    """Structural similarity at five scales.

    Source: Wang, Simoncelli & Bovik 2003, multi-scale SSIM.
    """
    return _piq("multi_scale_ssim", distorted, reference)


def iw_ssim(reference: Tensor, distorted: Tensor) -> Tensor:
    """Multi-scale SSIM, places weighted by their information. Raises ValueError where that is none.

    Source: Wang & Li 2011, information content weighted SSIM.
    """
    try:
        return _piq("information_weighted_ssim", distorted, reference)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ValueError("iw_ssim has no value for a reference with so little structure") from error


def fsim(reference: Tensor, distorted: Tensor) -> Tensor:
    """Similarity of phase congruency and gradient.

    Source: Zhang et al. 2011, FSIM index.
    """
    return _piq("fsim", distorted, reference, chromatic=False)


def sr_sim(reference: Tensor, distorted: Tensor) -> Tensor:
    """Similarity of spectral-residual saliency and gradient.

    Source: Zhang & Li 2012, SR-SIM.
    """
    # One image at a time: piq scales the saliency by the largest value of the whole batch.
    pairs = zip(distorted[:, None], reference[:, None], strict=True)
    return torch.cat([_piq("srsim", *pair, chromatic=False) for pair in pairs])


def gmsd(reference: Tensor, distorted: Tensor) -> Tensor:
    """Deviation of the gradient magnitudes' similarity.

    Source: Xue et al. 2014, gradient magnitude similarity deviation.
    """
    return _piq("gmsd", distorted, reference)


def contrast_similarities(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Maps of local contrast similarity at three scales, each halved: (N, 1, H, W) twice -> maps in (0, 1].

    Source: Wang et al. 2016, contrast similarity of MCSD.
    """
    for _ in MCSD_WEIGHTS:
        mean = [functional.avg_pool2d(i, 5, 1, 2) for i in (x, y)]
        spread = [
            (functional.avg_pool2d(i * i, 5, 1, 2) - m * m).clamp(min=0)
            for i, m in zip((x, y), mean, strict=True)
        ]
        constant = 0.0025
        yield (2 * (spread[0] * spread[1]).sqrt() + constant) / (spread[0] + spread[1] + constant)
        x, y = (functional.avg_pool2d(i, 2) for i in (x, y))


def mcsd(reference: Tensor, distorted: Tensor) -> Tensor:
    """Product of the contrast similarities' deviations at three scales, each to its exponent.

    Source: Wang et al. 2016, multiscale contrast similarity deviation.
    """
    total = torch.ones((), dtype=torch.float64)
    maps = contrast_similarities(reference.double(), distorted.double())
    for weight, similarity in zip(MCSD_WEIGHTS, maps, strict=True):
        total = total * similarity.std(dim=(1, 2, 3), correction=0) ** weight
    return total


def dss(reference: Tensor, distorted: Tensor) -> Tensor:
    """Similarity of DCT sub-bands.

    Source: Balanov et al. 2015, DCT subbands similarity.
    """
    return _piq("dss", distorted, reference)


def vifp(reference: Tensor, distorted: Tensor) -> Tensor:
    """Visual information fidelity in the pixel domain; above 1 where contrast was enhanced.

    Source: Sheikh & Bovik 2006, pixel-domain implementation (VIFP).
    """
    return _piq("vif_p", distorted, reference)


def haarpsi(reference: Tensor, distorted: Tensor) -> Tensor:
    """Similarity of Haar wavelet coefficients.

    Source: Reisenhofer et al. 2018, HaarPSI.
    """
    return _piq("haarpsi", distorted, reference)


def _piq(name: str, distorted: Tensor, reference: Tensor, **options: object) -> Tensor:
    function = getattr(_piq_module(), name)
    values = function(distorted.double(), reference.double(), data_range=1.0, reduction="none", **options)
    return values.reshape(len(reference))  # type: ignore[no-any-return]


def _piq_module() -> ModuleType:
    mend_torchvision()
    try:
        return importlib.import_module("piq")
    except ModuleNotFoundError as error:
        if error.name != "piq":
            raise
        raise ImportError("this metric needs piq, which the extra `train` installs: qagate[train]") from error


def _metric(
    function: Callable[[Tensor, Tensor], Tensor],
    low: float,
    high: float,
    source: str,
    *,
    smallest: int,
    better: str = "higher",
) -> Metric:
    return Metric(
        function=function, range=(low, high), higher_is_better=better == "higher", smallest=smallest,
        source=source,
    )  # fmt: skip


METRICS: Mapping[str, Metric] = {
    "snr": _metric(snr, -80, 80, "Wang & Bovik 2009", smallest=1),
    "psnr": _metric(psnr, 0, 80, "Wang & Bovik 2009", smallest=1),
    "uqi": _metric(uqi, -1, 1, "Wang & Bovik 2002", smallest=8),
    "ssim": _metric(ssim, -1, 1, "Wang et al. 2004", smallest=11),
    "ms_ssim": _metric(ms_ssim, 0, 1, "Wang, Simoncelli & Bovik 2003", smallest=161),
    "iw_ssim": _metric(iw_ssim, 0, 1, "Wang & Li 2011", smallest=161),
    "fsim": _metric(fsim, 0, 1, "Zhang et al. 2011", smallest=32),
    "sr_sim": _metric(sr_sim, 0, 1, "Zhang & Li 2012", smallest=41),
    "gmsd": _metric(gmsd, 0, 1, "Xue et al. 2014", smallest=8, better="lower"),
    "mcsd": _metric(mcsd, 0, 1, "Wang et al. 2016", smallest=20, better="lower"),
    "dss": _metric(dss, 0, 1, "Balanov et al. 2015", smallest=32),
    "vifp": _metric(vifp, 0, math.inf, "Sheikh & Bovik 2006", smallest=41),
    "mad": _metric(
        most_apparent.mad,
        0,
        math.inf,
        "Larson & Chandler 2010",
        smallest=most_apparent.SMALLEST,
        better="lower",
    ),
    "haarpsi": _metric(haarpsi, 0, 1, "Reisenhofer et al. 2018", smallest=16),
}
"""Name -> metric, in the order of MIQANet's table I."""
