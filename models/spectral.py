"""Spectral features: what artefacts leave in power spectrum, autocorrelation and angular means.

Per channel: a radial log-power spectrum and its differences (noise, blur); angular spread of the power in
two bands (motion, streaks); autocorrelation at the field-of-view fractions where ghosts stand; the angular
mean of the high-pass per radius (rings); noise in air and in tissue. Formulas are our own; the study that
chose them stands in the model card.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 21
SECTORS = 12
BANDS = ((0.06, 0.20), (0.20, 0.45))  #: cycles per pixel
FRACTIONS = (2, 3, 4, 5)  #: ghosts at 1/2, 1/3, 1/4, 1/5 of the field of view
NEIGHBOURS = (-6, -5, -4, 4, 5, 6)  #: shifts a ghost's correlation is compared with, pixels
RING_SECTORS = 4
TONES = 10  #: features of `_noise`, the block's last
PER_CHANNEL = 2 * BINS - 1 + 4 * len(BANDS) + 6 * len(FRACTIONS) + 2 + RING_SECTORS + TONES
QUIET = -3.0  #: log10 of fine detail, as a share of the channel's range; few references are smoother
_TINY = 1e-10


def shortfall(block: Tensor) -> Tensor:
    """(N, PER_CHANNEL) of one channel -> (N, 1): how far fine detail falls short of QUIET, decades, -2 to 0.

    The mean over the tones between the 20th and the 80th percentile. Below zero lies what is smoother than
    the references: there Lite0's features take noise for sharpness (docs/default-model.md).
    """
    middle = block[:, 1 - TONES : 3 - TONES]
    return (middle - QUIET).clamp(max=0).mean(dim=1, keepdim=True)


def spectral_features(images: Tensor) -> Tensor:
    """(N, H, W) float32 in [0, 1], H and W >= 32 -> (N, PER_CHANNEL) float32."""
    maps = _maps(images.shape[1], images.shape[2], images.device)
    centred = images - images.mean(dim=(1, 2), keepdim=True)
    power = _power(torch.fft.rfft2(centred * maps.taper)) / centred[0].numel()
    high_pass = _high_pass(images)
    radial = _mean_by(power.flatten(1), maps.radius, BINS)
    log_radial = torch.log10(radial + _TINY)
    parts = [log_radial, log_radial.diff(dim=1), _angular(power, maps)]
    parts += [_ghosts(signal) for signal in (centred, high_pass, high_pass.abs())]
    parts += [_rings(high_pass, maps), _noise(images, high_pass)]
    return torch.cat(parts, dim=1)


class _Maps(NamedTuple):
    taper: Tensor  # (H, W) Hann window of mean square 1
    radius: Tensor  # (H * W2) bin of the radial frequency
    sectors: Tensor  # (bands, H * W2) sector of the angle, SECTORS outside the band
    rings: Tensor  # (H * W) distance to the centre, whole pixels
    ring_sectors: Tensor  # (H * W) distance and quadrant in one index
    far: int  # distances from here on are not looked at


@lru_cache(maxsize=8)
def _maps(rows: int, columns: int, device: torch.device) -> _Maps:
    taper = torch.outer(torch.hann_window(rows, periodic=False), torch.hann_window(columns, periodic=False))
    fy = torch.fft.fftfreq(rows)[:, None]
    fx = torch.fft.rfftfreq(columns)[None, :]
    frequency = torch.sqrt(fy**2 + fx**2)
    radius = (frequency / 0.5 * (BINS - 1)).round().clamp(max=BINS - 1).long()
    angle = torch.atan2(fy.expand_as(frequency), fx.expand_as(frequency))  # -pi/2..pi/2
    sector = ((angle / torch.pi + 0.5) * SECTORS).round().long() % SECTORS
    banded = [torch.where((frequency >= low) & (frequency < high), sector, SECTORS) for low, high in BANDS]
    y = torch.arange(rows)[:, None] - (rows - 1) / 2
    x = torch.arange(columns)[None, :] - (columns - 1) / 2
    distance = torch.sqrt(y**2 + x**2)
    far = min(rows, columns) // 2
    rings = distance.long().clamp(max=far)
    quadrant = (y > 0).long() * 2 + (x > 0).long()
    joint = (rings * RING_SECTORS + quadrant).flatten()
    taper = taper / taper.square().mean().sqrt()
    return _Maps(
        taper=taper.to(device),
        radius=radius.flatten().to(device),
        sectors=torch.stack([b.flatten() for b in banded]).to(device),
        rings=rings.flatten().to(device),
        ring_sectors=joint.to(device),
        far=far,
    )


def _power(spectrum: Tensor) -> Tensor:
    """Squared magnitude, without the root of abs."""
    return spectrum.real.square() + spectrum.imag.square()


def _deviation(values: Tensor) -> Tensor:
    """(N, P) -> (N) as `values.std(dim=1)`, in two passes: twenty times faster on a CPU."""
    about = values - values.mean(dim=1, keepdim=True)
    return (about.square_().sum(dim=1) / (values.shape[1] - 1)).sqrt()


def _order(values: Tensor) -> Tensor:
    """(N, P) values >= 0 -> `values.argsort(dim=1, stable=True)`.

    On a CPU value and place are sorted as one integer: the bits of floats >= 0 are in the floats' order, and
    numpy's sort of integers is vectorised. Adding zero makes -0.0 the 0.0 that it equals.
    """
    if values.device.type != "cpu":
        return values.argsort(dim=1, stable=True)
    places = torch.arange(values.shape[1])
    keys = (((values + 0.0).view(torch.int32).long() << 32) | places).numpy()
    keys.sort(axis=1)
    return torch.from_numpy(keys & 0xFFFFFFFF)


def _mean_by(values: Tensor, index: Tensor, count: int) -> Tensor:
    """(N, P) values, (P) index in 0..count-1 -> (N, count) mean of each index; 0 where there is none."""
    sums = torch.zeros(values.shape[0], count, dtype=values.dtype, device=values.device)
    sums.index_add_(1, index, values)
    return sums / torch.bincount(index, minlength=count).clamp(min=1)


def _high_pass(images: Tensor) -> Tensor:
    """The image minus its 5x5 binomial mean, edges replicated."""
    padded = F.pad(images[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    return images - _binomial(_binomial(padded, 2), 1)


def _binomial(values: Tensor, axis: int) -> Tensor:
    """Means of five neighbours weighted 1, 4, 6, 4, 1, four fewer; cheaper than a convolution."""
    count = values.shape[axis] - 4
    a, b, c, d, e = (values.narrow(axis, start, count) for start in range(5))
    return (a + e).add_(b + d, alpha=4).add_(c, alpha=6).div_(16)


def _angular(power: Tensor, maps: _Maps) -> Tensor:
    """Per band: deviation, largest and smallest of the sectors' log-power; rows against columns."""
    found = []
    for sectors in maps.sectors:
        log_power = torch.log10(_mean_by(power.flatten(1), sectors, SECTORS + 1)[:, :SECTORS] + _TINY)
        about = log_power - log_power.mean(dim=1, keepdim=True)
        axes = about[:, 0] - about[:, SECTORS // 2]
        found += [about.std(dim=1), about.amax(dim=1), about.amin(dim=1), axes]
    return torch.stack(found, dim=1)


def _ghosts(signal: Tensor) -> Tensor:
    """Circular autocorrelation at FRACTIONS of the field of view along both axes, less its neighbours'."""
    signal = signal - signal.mean(dim=(1, 2), keepdim=True)
    found = []
    for axis in (1, 2):
        length = signal.shape[axis]
        spectrum = _power(torch.fft.rfft(signal, dim=axis)).sum(dim=3 - axis)
        correlation = torch.fft.irfft(spectrum, n=length, dim=1)
        correlation = correlation / (correlation[:, :1] + _TINY)
        for fraction in FRACTIONS:
            shift = round(length / fraction)
            around = [(shift + n) % length for n in NEIGHBOURS]
            peak = correlation[:, max(shift - 1, 0) : shift + 2].amax(dim=1)
            found.append(peak - correlation[:, around].mean(dim=1))
    return torch.stack(found, dim=1)


def _rings(high_pass: Tensor, maps: _Maps) -> Tensor:
    """Angular means of the high-pass per radius against what noise of its strength would leave."""
    flat = high_pass.flatten(1)
    noise = _deviation(flat) + 1e-6
    usable = slice(4, maps.far)
    whole = _mean_by(flat, maps.rings, maps.far + 1)[:, usable]
    radii = torch.arange(4, maps.far, device=flat.device)
    expected = torch.sqrt(2 * torch.pi * (radii + 0.5))
    parts = _mean_by(flat, maps.ring_sectors, (maps.far + 1) * RING_SECTORS)
    parts = parts.view(-1, maps.far + 1, RING_SECTORS)[:, usable]
    scaled = whole.abs() * expected / noise[:, None]
    found = [torch.log10(scaled.mean(dim=1) + _TINY), torch.log10(scaled.amax(dim=1) + _TINY)]
    agreement = (parts * parts.roll(1, dims=2)).mean(dim=1) / (parts.square().mean(dim=(1, 2)) + _TINY)[
        :, None
    ]
    return torch.cat([torch.stack(found, dim=1), agreement], dim=1)


def _noise(images: Tensor, high_pass: Tensor) -> Tensor:
    """Robust spread of the high-pass in the darkest fifth and in the middle tones, and how the tones lie."""
    flat, detail = images.flatten(1)[:, ::2], high_pass.flatten(1).abs()[:, ::2]
    order = _order(flat)
    tones, detail = flat.gather(1, order), detail.gather(1, order)
    n = tones.shape[1]
    found = []
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.98)):
        part = detail[:, int(low * n) : int(high * n)]
        found.append(torch.log10(part.median(dim=1).values + 1e-5))
    everywhere, spread = detail.mean(dim=1), _deviation(tones)
    found += [torch.log10(everywhere + 1e-5), torch.log10(detail.square().mean(dim=1).sqrt() + 1e-5)]
    found += [found[0] - found[2], everywhere / (spread + 1e-3)]
    found += [tones.mean(dim=1), spread]
    return torch.stack(found, dim=1)
