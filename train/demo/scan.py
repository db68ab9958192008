"""The demo's CT scanner: line integrals of a phantom, photon noise at a chosen dose, back-projection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from train.projector import Projector, projector

_WATER_PER_MM = 0.0193  #: linear attenuation of water at about 70 keV (NIST XCOM)
_VIEWS = 720
_PHOTONS = 2.0e6  #: a detector sample at full dose, without a patient; gives about 3.5 HU in the brain
_ELECTRONIC_NOISE = 12.0  #: standard deviation in photons; makes streaks where little gets through
_CUTOFF = 0.42  #: of the soft kernel, cycles a pixel


def ct_scan(
    anatomy: Sequence[npt.NDArray[np.float32]], *, spacing_mm: float, dose: float, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Scan noiseless slices in HU, (n, n), with `dose` as a part of the full dose; yields HU.

    Poisson and electronic noise on the transmitted photons (Whiting et al., Med Phys 33 (2006) 3290),
    then filtered back-projection of the change with a soft kernel: the anatomy keeps its own sharpness.
    """
    rng = np.random.default_rng(seed)
    for hounsfield in anatomy:
        beam = projector(hounsfield.shape[0], _VIEWS)
        scale = _WATER_PER_MM * spacing_mm
        lines = beam.sinogram(
            beam.spokes((scale * np.clip(1 + hounsfield / 1000, 0, None)).astype(np.float32))
        )
        photons = dose * _PHOTONS
        counted = rng.poisson(photons * np.exp(-lines)) + rng.normal(0, _ELECTRONIC_NOISE, lines.shape)
        error = -np.log(np.maximum(counted, 1.0) / photons) - lines
        noise = beam.reconstruct(
            (beam.spectrum(error.astype(np.float32)) * kernel(beam)).astype(np.complex64)
        )
        yield np.asarray(hounsfield + 1000 / scale * noise, dtype=np.float32)


def kernel(beam: Projector) -> npt.NDArray[np.float64]:
    """A soft reconstruction kernel: raised cosine over the frequencies of a projection."""
    return np.asarray(np.cos(np.pi / 2 * np.clip(beam.frequencies / _CUTOFF, 0, 1)) ** 2)
