"""MR artefacts on magnitude images (rows, columns) float32; severity 0 to 5.

Strengths are relative to the image's own bright level, the 99th percentile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Array = npt.NDArray[np.float32]
Rng = np.random.Generator


def _level(image: Array) -> float:
    return float(np.percentile(np.abs(image), 99)) + 1e-9


def _ladder(severity: float, first: float, last: float) -> float:
    """A geometric ladder: `first` at severity 1, `last` at severity 5."""
    return float(first * (last / first) ** ((severity - 1) / 4)) * min(severity, 1.0)


def _shifted(image: Array, rng: Rng) -> Array:
    """The image moved along a random axis by 1/2, 1/3 or 1/4 of the field of view."""
    axis = int(rng.integers(2))
    fraction = int(rng.choice([2, 2, 3, 4]))
    moved: npt.NDArray[Any] = np.roll(image, image.shape[axis] // fraction, axis)
    if fraction > 2:
        moved = (moved + np.roll(image, -(image.shape[axis] // fraction), axis)) / 2
    return np.asarray(moved, dtype=np.float32)


def ghost(image: Array, severity: float, rng: Rng) -> Array:
    """Copies of the object along phase encoding, 4 to 45 % strong, in or out of phase."""
    amount = _ladder(severity, 0.04, 0.45)
    copy = _shifted(image, rng)
    phase = rng.uniform(0, 2 * np.pi)
    return np.abs((1 - amount / 2) * image + amount * np.exp(1j * phase) * copy).astype(np.float32)


def edge_ghost(image: Array, severity: float, rng: Rng) -> Array:
    """Copies of the object's edges (high-pass) along phase encoding, as small movements leave them."""
    edges = image - ndimage.gaussian_filter(image, max(image.shape) / 80)
    copy = _shifted(edges, rng)
    return np.abs(image + _ladder(severity, 0.12, 1.4) * copy).astype(np.float32)


def rician_noise(image: Array, severity: float, rng: Rng) -> Array:
    """Gaussian noise of 2 to 25 % of the bright level in both channels, then the magnitude."""
    sigma = _ladder(severity, 0.02, 0.25) * _level(image)
    real, imaginary = rng.standard_normal((2, *image.shape)) * sigma
    return np.hypot(image + real, imaginary).astype(np.float32)


def coloured_noise(image: Array, severity: float, rng: Rng) -> Array:
    """1/f noise of 2 to 22 % of the bright level."""
    white = fft.rfft2(rng.standard_normal(image.shape))
    fy, fx = fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None, :]
    radius = np.sqrt(fy**2 + fx**2)
    exponent = rng.uniform(0.7, 1.3)
    noise = fft.irfft2(white / np.maximum(radius, 2 / max(image.shape)) ** exponent, s=image.shape)
    noise *= _ladder(severity, 0.02, 0.22) * _level(image) / (noise.std() + 1e-12)
    return np.abs(image + noise).astype(np.float32)


def motion(image: Array, severity: float, rng: Rng) -> Array:
    """Rigid in-plane motion between phase-encoding lines: k-space lines of different poses.

    The head moves at a few moments, one of them near the centre of k-space, by up to 0.8 to 10 pixels of
    a 256-pixel image and half as many degrees.
    """
    axis = int(rng.integers(2))
    lines = image.shape[axis]
    size = _ladder(severity, 0.8, 10.0) * max(image.shape) / 256
    near = 0.5 + rng.choice([-1, 1]) * rng.uniform(0.03, 0.12)
    moments = np.sort(np.append(rng.uniform(0.1, 0.9, int(rng.integers(2, 6))), near)) * lines
    moves = rng.choice([-1, 1], (len(moments), 3)) * rng.uniform(0.3, 1, (len(moments), 3))
    pose = np.searchsorted(moments, np.arange(lines))
    poses = np.vstack([np.zeros(3), moves])
    poses = poses - poses[pose[lines // 2]]
    mixed = np.zeros(image.shape, np.complex128)
    for number, (dy, dx, turn) in enumerate(poses):
        chosen = pose == number
        if not chosen.any():
            continue
        moved = _rigid(image, dy * size, dx * size, turn * size * 0.5 * 256 / max(image.shape))
        spectrum = fft.fftshift(fft.fft2(moved), axes=axis)
        keep = (chosen, slice(None)) if axis == 0 else (slice(None), chosen)
        mixed[keep] = spectrum[keep]
    return np.abs(fft.ifft2(fft.ifftshift(mixed, axes=axis))).astype(np.float32)


def _rigid(image: Array, dy: float, dx: float, degrees: float) -> Array:
    if dy == dx == degrees == 0:
        return image
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - turn @ (centre + np.array([dy, dx]))
    return np.asarray(ndimage.affine_transform(image, turn, offset, order=3, mode="constant", cval=0))


def blur(image: Array, severity: float, rng: Rng) -> Array:
    """Gaussian blur, sigma 0.7 to 3.5 pixels, up to a third wider along one axis."""
    sigma = _ladder(severity, 0.7, 3.5)
    aspect = rng.uniform(1.0, 1.35)
    pair = (sigma * aspect, sigma) if rng.random() < 0.5 else (sigma, sigma * aspect)
    return np.asarray(ndimage.gaussian_filter(image, pair), dtype=np.float32)


def bias_field(image: Array, severity: float, rng: Rng) -> Array:
    """A smooth multiplicative field, log-amplitude 0.2 to 2.0 peak to peak, as of a receive coil."""
    y, x = (np.linspace(-1, 1, n) for n in image.shape)
    yy, xx = np.meshgrid(y, x, indexing="ij")
    terms = (yy, xx, yy * xx, yy**2, xx**2, yy**3, xx**3)
    field = np.sum([w * t for w, t in zip(rng.standard_normal(len(terms)), terms, strict=True)], axis=0)
    field = (field - field.min()) / (np.ptp(field) + 1e-9) - 0.5
    return (image * np.exp(_ladder(severity, 0.2, 2.0) * field)).astype(np.float32)


def wrap(image: Array, severity: float, rng: Rng) -> Array:
    """Fold-over: what lies outside a field of view 5 to 38 % too small is laid over the other side."""
    axis = int(rng.integers(2))
    image = np.moveaxis(image, axis, 0)
    shown = np.flatnonzero(image.max(axis=1) > 0.1 * _level(image))
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (0, image.shape[0] - 1)
    cut = max(round((last - first + 1) * _ladder(severity, 0.05, 0.38)), 1)
    folded = image.copy()
    if rng.random() < 0.5:
        folded[first : first + cut] += image[last - cut + 1 : last + 1]
        folded[last - cut + 1 : last + 1] = 0
    else:
        folded[last - cut + 1 : last + 1] += image[first : first + cut]
        folded[first : first + cut] = 0
    return np.ascontiguousarray(np.moveaxis(folded, 0, axis)).astype(np.float32)
