"""Most apparent distortion: how visible a faint error is, how changed the look is, and their blend.

Larson & Chandler 2010, "Most apparent distortion: full-reference image quality assessment and the role of
strategy". Constants and block layout follow the authors' 2011 code where the text leaves them open: the
energy of the error is that of gray levels 0..255, d_detect is multiplied by 200, and 16 pixels at each edge
do not count.

Deviations from that code:
- Frequencies are exact and each axis has its own; the code's are half a sample off and both divided by the
  width, and its log-Gabor filters of odd sizes are shifted by a sample.
- The last row and column of blocks have all their neighbours; the code misses some where 4 divides the size.
With the code's own two habits the values agree to 1e-14; as they are here, within 1 % from 64x64 on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 16  #: pixels a side of the blocks that local statistics are taken from
STEP = 4  #: pixels from one block to the next
SMALLEST = 2 * BLOCK + 2  #: pixels a side of the smallest image, of which one is left inside the edges

_LIGHTNESS_GAIN = 0.02874
_CYCLES = 32.0  # cycles per degree at the Nyquist frequency
_PEAK = 7.8909  # below this frequency the contrast sensitivity is constant
_DARK = 0.5  # lightness below which no error is seen
_THRESHOLD = -5.0  # logarithm of the smallest contrast that masks
_WEIGHTS = (0.5, 0.75, 1.0, 5.0, 6.0)  # of the scales, finest first
_ORIENTATIONS = 4
_BLEND = (math.exp(-2.55 / 3.35), 1 / (math.log(10) * 3.35))


def mad(reference: Tensor, distorted: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1] twice, 34 pixels a side or more -> (N,), 0 for equal images, lower is better.

    Source: Larson & Chandler 2010, blend of the two strategies.
    """
    detect, appear = detection(reference, distorted), appearance(reference, distorted)
    first, second = _BLEND
    share = 1 / (1 + first * detect**second)
    return detect**share * appear ** (1 - share)


def detection(reference: Tensor, distorted: Tensor) -> Tensor:
    """Visible error, for faint distortions: (N, 1, H, W) in [0, 1] twice -> (N,) >= 0.

    Source: Larson & Chandler 2010, detection-based strategy, equations 1-6 and the pooling after them.
    """
    gray, other = 255 * reference.double(), 255 * distorted.double()
    clean, broken = (_seen(_LIGHTNESS_GAIN * image ** (2.2 / 3)) for image in (gray, other))
    mean = functional.avg_pool2d(clean, BLOCK, STEP)
    contrast = (_least_deviation(clean) / mean.clamp_min(_DARK)).log()
    error = (_blocks(broken - clean).std(dim=-1) / mean.clamp_min(_DARK)).log()
    error = error.masked_fill(mean < _DARK, -math.inf)
    visible = error - contrast.clamp_min(_THRESHOLD)
    mask = visible.clamp_min(0).nan_to_num(0)
    energy = functional.avg_pool2d((gray - other).square(), BLOCK, 1)
    # The energy around a pixel reaches 7 pixels to its left and 8 to its right.
    energy = functional.pad(energy, (7, 8, 7, 8))
    return 200 * _inside(_spread_out(mask, gray.shape) * energy)


def appearance(reference: Tensor, distorted: Tensor) -> Tensor:
    """Changed statistics of log-Gabor sub-bands, for strong distortions: (N, 1, H, W) twice -> (N,) >= 0.

    Source: Larson & Chandler 2010, appearance-based strategy.
    """
    spectra = [torch.fft.fft2(255 * image.double()) for image in (reference, distorted)]
    filters = log_gabor(reference.shape[2], reference.shape[3], len(_WEIGHTS), _ORIENTATIONS)
    total = torch.zeros((), dtype=torch.float64)
    for weight, scale in zip(_WEIGHTS, filters, strict=True):
        for band in scale:
            clean, broken = (_statistics(torch.fft.ifft2(spectrum * band).abs()) for spectrum in spectra)
            change = [(a - b).abs() for a, b in zip(clean, broken, strict=True)]
            total = total + weight / sum(_WEIGHTS) * (change[0] + 2 * change[1] + change[2])
    return _inside(_spread_out(total, reference.shape))


def log_gabor(rows: int, columns: int, scales: int, orientations: int) -> Tensor:
    """Frequency responses (scales, orientations, rows, columns), unshifted: wavelengths 3, 9, 27, ... pixels.

    Source: Larson & Chandler 2010, appearance-based strategy, log-Gabor filters.
    """
    y = 2 * torch.fft.fftfreq(rows, dtype=torch.float64)[:, None]
    x = 2 * torch.fft.fftfreq(columns, dtype=torch.float64)[None]
    radius = torch.hypot(x, y)
    radius[0, 0] = 1  # its logarithm must exist; the response there is set to 0 below
    centres = torch.tensor([2 / 3.0**number for number in range(1, scales + 1)], dtype=torch.float64)
    octaves = (radius / centres[:, None, None]).log() / math.log(0.55)
    radial = (-octaves.square() / 2).exp()
    radial[:, 0, 0] = 0
    angles = torch.arange(orientations, dtype=torch.float64) * math.pi / orientations
    distance = torch.remainder(torch.atan2(-y, x) - angles[:, None, None] + math.pi, 2 * math.pi) - math.pi
    width = math.pi / orientations / 1.5
    return radial[:, None] * (-(distance / width).square() / 2).exp()


def _seen(lightness: Tensor) -> Tensor:
    """Filtered by the eye's contrast sensitivity (equation 3)."""
    y = 2 * _CYCLES * torch.fft.fftfreq(lightness.shape[2], dtype=torch.float64)[:, None]
    x = 2 * _CYCLES * torch.fft.fftfreq(lightness.shape[3], dtype=torch.float64)[None]
    frequency = torch.hypot(x, y) / (0.15 * (4 * torch.atan2(y, x)).cos() + 0.85)
    scaled = frequency.mul(0.114)
    response = (scaled + 0.0192).mul(2.6) * scaled.pow(1.1).neg().exp()
    response = response.masked_fill(frequency < _PEAK, 0.9809)
    filtered: Tensor = torch.fft.ifft2(torch.fft.fft2(lightness) * response).real
    return filtered


def _blocks(image: Tensor, side: int = BLOCK) -> Tensor:
    """(N, 1, H, W) -> (N, 1, rows, columns, side * side), a block every STEP pixels."""
    return image.unfold(2, side, STEP).unfold(3, side, STEP).flatten(4)


def _least_deviation(image: Tensor) -> Tensor:
    """Smallest deviation of the quarter blocks at the corner and one step on: edges do not mask."""
    quarter = BLOCK // 2
    there = image[:, :, : image.shape[2] - quarter, : image.shape[3] - quarter]
    deviation = _blocks(there, quarter).std(dim=-1)
    return -functional.max_pool2d(functional.pad(-deviation, (0, 1, 0, 1), value=-math.inf), 2, 1)


def _statistics(band: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Deviation, skewness and kurtosis of each block; 0 for the last two where it is flat."""
    blocks = _blocks(band)
    centred = blocks - blocks.mean(dim=-1, keepdim=True)
    squares = centred.square()
    variance = squares.mean(dim=-1)
    flat = variance < 1e-18
    safe = variance.masked_fill(flat, 1)
    skew = ((squares * centred).mean(dim=-1) / safe**1.5).masked_fill(flat, 0)
    kurtosis = (squares.square().mean(dim=-1) / safe**2).masked_fill(flat, 0)
    return (variance * BLOCK**2 / (BLOCK**2 - 1)).sqrt(), skew, kurtosis


def _spread_out(tiles: Tensor, shape: torch.Size) -> Tensor:
    """Each block's value on the STEP x STEP pixels at its corner: (N, 1, rows, columns) -> (N, 1, H, W)."""
    whole = tiles.repeat_interleave(STEP, 2).repeat_interleave(STEP, 3)
    return functional.pad(whole, (0, shape[3] - whole.shape[3], 0, shape[2] - whole.shape[2]))


def _inside(values: Tensor) -> Tensor:
    """Root mean square without the edges: (N, 1, H, W) -> (N,)."""
    inner = values[:, 0, BLOCK : -BLOCK - 1, BLOCK : -BLOCK - 1]
    return inner.square().mean(dim=(1, 2)).sqrt()
