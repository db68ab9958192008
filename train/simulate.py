"""Degrade a slice: one artefact, one severity, native size, physical units in and out.

MR artefacts follow RAD-IQMRI (ghosts as shifted copies along phase encoding, white and coloured noise) and
plain physics in k-space; CT artefacts go through a projector: the change of the measured projections is
reconstructed and added to the image, so what was not touched keeps its own texture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle

from train import simulate_ct as ct
from train import simulate_mr as mr

Array = npt.NDArray[np.float32]
Degrade = Callable[[Array, float, np.random.Generator], Array]

SIMULATORS: Mapping[str, Mapping[str, Degrade]] = {
    "MR": {
        "ghost": mr.ghost,
        "edge_ghost": mr.edge_ghost,
        "noise": mr.rician_noise,
        "coloured_noise": mr.coloured_noise,
        "motion": mr.motion,
        "blur": mr.blur,
        "bias": mr.bias_field,
        "wrap": mr.wrap,
    },
    "CT": {
        "noise": ct.dose_noise,
        "sparse": ct.sparse_views,
        "ring": ct.rings,
        "motion": ct.motion,
        "beam_hardening": ct.beam_hardening,
        "blur": ct.blur,
    },
}

#: simulator -> value of qagate.assessment.Artefact that a reader would see
SEEN_AS: Mapping[str, str] = {
    "ghost": "ghosting",
    "edge_ghost": "ghosting",
    "noise": "noise",
    "coloured_noise": "noise",
    "motion": "motion",
    "blur": "blur",
    "bias": "non-uniformity",
    "wrap": "wrap-around",
    "sparse": "streak",
    "ring": "ring",
    "beam_hardening": "beam hardening",
}

SEVERITIES = (1.0, 2.0, 3.0, 4.0, 5.0)


def degrade(pixels: Array, artefact: str, severity: float, rng: np.random.Generator, modality: str) -> Array:
    """A degraded copy of one slice.

    pixels: (rows, columns) float32, Hounsfield units for CT, arbitrary units for MR (negative values count
    as none). artefact: a key of SIMULATORS[modality]. severity: 0 (unchanged) to 5 (strong), continuous.
    The same seed at rising severities gives one and the same pattern, stronger. Raises ValueError for an
    unknown artefact or modality, a severity outside 0 to 5, or pixels that are not one image.
    """
    if artefact not in SIMULATORS.get(modality, {}):
        known = "; ".join(f"{m}: {', '.join(a)}" for m, a in SIMULATORS.items())
        raise ValueError(f"no artefact {artefact!r} for modality {modality!r}; there are {known}")
    if not 0 <= severity <= 5:
        raise ValueError(f"severity {severity} is outside 0 to 5")
    if pixels.ndim != 2 or min(pixels.shape) < 8 or not np.isfinite(pixels).all():
        raise ValueError(f"pixels {pixels.shape} are not one finite image of at least 8x8")
    image = np.asarray(pixels, dtype=np.float32)
    if severity == 0:
        return image.copy()
    return np.asarray(SIMULATORS[modality][artefact](image, float(severity), rng), dtype=np.float32)


def randomise(pixels: Array, rng: np.random.Generator, modality: str) -> Array:
    """Another plausible clean reference made of one: contrast, size, rotation, flip and sharpness vary.

    Never enlarges: an enlarged image is blurred yet would be labelled perfect.
    """
    image = np.asarray(pixels, dtype=np.float32)
    background = float(image.min())
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.5:
        image = image[::-1]
    if rng.random() < 0.3:
        image = np.ascontiguousarray(image.T)
    if rng.random() < 0.6:
        angle = rng.uniform(-20, 20)
        image = ndimage.rotate(image, angle, reshape=False, order=3, cval=background)
    if rng.random() < 0.6 and min(image.shape) > 200:
        scale = rng.uniform(max(0.6, 160 / min(image.shape)), 1.0)
        image = ndimage.zoom(ndimage.gaussian_filter(image, 0.35 / scale), scale, order=3)
    image = _texture(image, rng, modality)
    image = np.maximum(image, background)
    if modality == "MR":
        top = float(np.percentile(image, 99.8)) + 1e-6
        unit = np.clip(image / top, 0, None)
        return np.asarray(top * np.where(unit > 0, unit, 0) ** rng.uniform(0.6, 1.6), dtype=np.float32)
    return np.asarray(image + rng.uniform(-15, 15) * (image > -500), dtype=np.float32)


def _texture(image: Array, rng: np.random.Generator, modality: str) -> Array:
    """Another protocol's texture: smooth as thick slices are, softer, or noisier by design."""
    level = 400.0 if modality == "CT" else float(np.percentile(image, 99)) + 1e-6
    choice = rng.random()
    if choice < 0.35:
        weight = rng.uniform(0.02, 0.12)
        image = denoise_tv_chambolle(image / level, weight=weight, max_num_iter=30) * level
    elif choice < 0.65:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.0))
    elif choice < 0.85:
        grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.3, 1.2))
        image = image + grain / grain.std() * level * rng.uniform(0.005, 0.035)
    return np.asarray(image, dtype=np.float32)
