"""Layout features: how brightness runs across the body, what lies beside it, and how k-space lines differ.

Per channel: polynomials of first to third order fitted to the logarithm of the tissue's level on a coarse
grid (receive fields, shading, cupping); the dark background's profile along both axes (ghosts); the borders
(fold-over); jumps between the lines of k-space along both axes (motion). Formulas are our own.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 32  #: a side of the grid
ORDERS = (3, 6, 10)  #: terms of the polynomials of first, second and third order
DARK, TISSUE, BRIGHT = 0.06, 0.12, 0.2  #: levels of the unit range
BORDER = 3  #: lines at each border
_FIT = len(ORDERS) + 6
PER_CHANNEL = 3 * _FIT + 2 * 2 + 2 + 2 * 2 + 2 * 4


def shading_features(images: Tensor) -> Tensor:
    """(N, H, W) float32 in [0, 1], H and W >= 32 -> (N, PER_CHANNEL) float32."""
    smooth = F.avg_pool2d(images[:, None], 3, 1, 1, count_include_pad=False)
    parts = []
    for level in (DARK, BRIGHT):
        inside = (smooth > level).float()
        total = F.adaptive_avg_pool2d(smooth * inside, CELLS)
        share = F.adaptive_avg_pool2d(inside, CELLS)
        parts.append(_fits(torch.log(total / (share + 1e-6) + 1e-2), share * (share > 0.3)))
    share = F.adaptive_avg_pool2d((smooth > DARK).float(), CELLS)
    brightest = torch.log(F.adaptive_max_pool2d(smooth, CELLS) + 1e-2)
    parts.append(_fits(brightest, share * (share > 0.5)))
    dark = (smooth[:, 0] < TISSUE).float()
    parts += [_background(images * dark, dark), _borders(images), _lines(images)]
    return torch.cat(parts, dim=1)


@lru_cache(maxsize=2)
def _terms(device: torch.device) -> Tensor:
    """(CELLS^2, terms) polynomials over the grid."""
    side = torch.linspace(-1, 1, CELLS, device=device)
    y, x = torch.meshgrid(side, side, indexing="ij")
    terms = (torch.ones_like(x), y, x, y * x, y**2, x**2, y**3, x**3, y**2 * x, y * x**2)
    return torch.stack([term.flatten() for term in terms], dim=1)


def _fits(levels: Tensor, weights: Tensor) -> Tensor:
    """Weighted fits to (N, 1, CELLS, CELLS): variance explained by each order, the fields' strength."""
    level, weight = levels.flatten(1), weights.flatten(1) + 1e-6
    total = weight.sum(dim=1, keepdim=True) + 1e-6
    terms = _terms(level.device)

    def variance(values: Tensor) -> Tensor:
        about = values - (values * weight).sum(dim=1, keepdim=True) / total
        return (weight * about.square()).sum(dim=1) / total[:, 0]

    whole = variance(level) + 1e-8
    fields, found = [], []
    for order in ORDERS:
        some = terms[:, :order]
        gram = torch.einsum("ck,nc,cl->nkl", some, weight, some)
        gram = gram + 1e-3 * total[:, :, None] * torch.eye(order, device=level.device)
        fields.append(torch.linalg.solve(gram, (weight * level) @ some) @ some.T)
        left = (weight * (level - fields[-1]).square()).sum(dim=1) / total[:, 0]
        found.append(1 - left / whole)
    field, left = fields[-1], left.sqrt()
    strength = variance(field).sqrt()
    on = weight > 0.3 * weight.amax(dim=1, keepdim=True)
    span = field.masked_fill(~on, -9).amax(dim=1) - field.masked_fill(~on, 9).amin(dim=1)
    found += [strength, variance(fields[0]).sqrt(), span, left, strength / (left + 1e-3), whole.sqrt()]
    return torch.stack(found, dim=1)


def _background(dark: Tensor, mask: Tensor) -> Tensor:
    """Spread of the background's profile along both axes, whole and without trend; level and share."""
    found = []
    for axis in (1, 2):
        profile = dark.sum(dim=axis) / (mask.sum(dim=axis) + 1)
        trend = F.avg_pool1d(profile[:, None], 9, 1, 4, count_include_pad=False)[:, 0]
        found += [_log(profile.std(dim=1), 1e-5), _log((profile - trend).std(dim=1), 1e-5)]
    level = dark.sum(dim=(1, 2)) / (mask.sum(dim=(1, 2)) + 1)
    return torch.stack([*found, _log(level, 1e-5), mask.mean(dim=(1, 2))], dim=1)


def _borders(images: Tensor) -> Tensor:
    """The brighter and the darker of two opposite borders, for both axes."""
    found = []
    for axis in (1, 2):
        far = images.shape[axis] - BORDER
        ends = [images.narrow(axis, start, BORDER).mean(dim=(1, 2)) for start in (0, far)]
        found += [_log(torch.maximum(*ends), 1e-4), _log(torch.minimum(*ends), 1e-4)]
    return torch.stack(found, dim=1)


def _lines(images: Tensor) -> Tensor:
    """Second differences of the log-power of k-space lines along both axes: near the centre, and outside."""
    centred = images - images.mean(dim=(1, 2), keepdim=True)
    found = []
    for axis in (1, 2):
        spectrum = torch.fft.rfft(centred, dim=axis)
        power = (spectrum.real.square() + spectrum.imag.square()).sum(dim=3 - axis) * images.shape[3 - axis]
        count = images.shape[axis]
        both = (torch.arange(count, device=images.device) - count // 2).abs()  # a real image's are symmetric
        lines = torch.log10(power[:, both] + 1e-9)
        jumps = lines[:, 2:] - 2 * lines[:, 1:-1] + lines[:, :-2]
        first, low, high, last = (int(share * lines.shape[1]) for share in (0.1, 0.36, 0.64, 0.9))
        near = jumps[:, low:high]
        far = torch.cat([jumps[:, first:low], jumps[:, high:last]], dim=1)
        found += [_log(part.std(dim=1), 1e-4) for part in (near, far)]
        found += [_log(part.abs().amax(dim=1), 1e-4) for part in (near, far)]
    return torch.stack(found, dim=1)


def _log(values: Tensor, least: float) -> Tensor:
    return torch.log10(values + least)
