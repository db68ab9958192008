"""A parallel-beam projector for square CT images: projections and filtered back-projection by gridding.

By the Fourier slice theorem a projection's spectrum is a spoke of the image's spectrum. Spokes are read from
(and, for back-projection, spread onto) a twice oversampled grid with a Kaiser-Bessel kernel (Jackson et al.
1991, Beatty et al. 2005), which is one sparse matrix and its transpose. Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, sparse

Array = npt.NDArray[np.float32]
Real = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Spokes = npt.NDArray[np.complex64]

_WIDTH = 4  # kernel, grid points
_BETA = np.pi * np.sqrt((_WIDTH / 2) ** 2 * (2 - 0.5) ** 2 - 0.8)


@dataclass(frozen=True)
class Projector:
    """size: pixels a side of the image; views: projections over half a turn, equally spaced."""

    size: int
    views: int

    @cached_property
    def detectors(self) -> int:
        """Samples of one projection, one pixel apart; the middle one is detectors // 2."""
        return 2 * self.size

    @cached_property
    def angles(self) -> npt.NDArray[np.float64]:
        return np.arange(self.views) * np.pi / self.views

    @cached_property
    def frequencies(self) -> npt.NDArray[np.float64]:
        """Of a projection's half spectrum, cycles a pixel."""
        return np.arange(self.size + 1) / self.detectors

    @cached_property
    def _grid(self) -> sparse.csr_array:
        """(views * (size + 1), detectors^2) interpolation weights on the shifted oversampled spectrum."""
        radius = self.frequencies * self.detectors
        columns, weights = [], []
        ky = np.sin(self.angles)[:, None] * radius
        kx = np.cos(self.angles)[:, None] * radius
        first_y = np.floor(ky - _WIDTH / 2 + 1).astype(int)
        first_x = np.floor(kx - _WIDTH / 2 + 1).astype(int)
        for dy in range(_WIDTH):
            for dx in range(_WIDTH):
                y, x = first_y + dy, first_x + dx
                weights.append(_kernel(y - ky) * _kernel(x - kx))
                columns.append((y % self.detectors) * self.detectors + x % self.detectors)
        count = ky.size
        indices = np.stack(columns, axis=-1).reshape(count, -1).astype(np.int32)
        data = np.stack(weights, axis=-1).reshape(count, -1).astype(np.float32)
        starts = np.arange(count + 1, dtype=np.int32) * indices.shape[1]
        return sparse.csr_array((data.ravel(), indices.ravel(), starts), shape=(count, self.detectors**2))

    @cached_property
    def _transposed(self) -> sparse.csr_array:
        return self._grid.T.tocsr()

    @cached_property
    def _apodisation(self) -> Array:
        """(size, size): what the kernel does to the image, divided out."""
        x = (np.arange(self.size) - self.size // 2) / self.detectors
        root = np.sqrt((_BETA**2 - (np.pi * _WIDTH * x) ** 2).astype(complex))
        one = np.real(np.sinh(root) / root)
        one = one / one[self.size // 2] * (np.sinh(_BETA) / _BETA)
        return np.asarray(np.outer(one, one) * (_WIDTH / np.i0(_BETA)) ** 2, dtype=np.float32)

    def spokes(self, image: Array) -> Spokes:
        """(views, size + 1) half spectra of the projections of an image (size, size)."""
        padded = np.zeros((self.detectors, self.detectors), np.float32)
        padded[: self.size, : self.size] = image / self._apodisation
        half = self.size // 2
        padded = np.roll(padded, (-half, -half), (0, 1))
        spectrum = fft.fft2(padded).astype(np.complex64)
        return np.asarray(
            (self._grid @ spectrum.ravel()).reshape(self.views, self.size + 1), dtype=np.complex64
        )

    def sinogram(self, spokes: Spokes) -> Array:
        """(views, detectors) line integrals: image units times pixels."""
        lines = fft.irfft(spokes, n=self.detectors, axis=1)
        return np.asarray(np.roll(lines, self.size, axis=1), dtype=np.float32)

    def spectrum(self, sinogram: Real) -> Spokes:
        """The inverse of `sinogram`."""
        return np.asarray(fft.rfft(np.roll(sinogram, -self.size, axis=1), axis=1), dtype=np.complex64)

    def reconstruct(self, spokes: Spokes, weights: Real | None = None) -> Array:
        """(size, size) filtered back-projection (Ram-Lak).

        weights: (views,) share of the half turn each view stands for, summing to 1; None: equal.
        """
        share = np.full(self.views, 1 / self.views) if weights is None else weights
        ramp = np.pi * self.frequencies / self.detectors
        ramp[0] = (
            1 / np.pi / self.detectors**2
        )  # that of the band-limited kernel, halved for the half spectrum
        filtered = (spokes * (ramp[None, :] * share[:, None])).astype(np.complex64)
        grid = (self._transposed @ filtered.ravel()).reshape(self.detectors, self.detectors)
        image = np.roll(fft.ifft2(grid).real, (self.size // 2, self.size // 2), (0, 1))
        image = image[: self.size, : self.size] * (2 * self.detectors**2)
        return np.asarray(image / self._apodisation, dtype=np.float32)


def _kernel(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    inside = np.clip(1 - (2 * distance / _WIDTH) ** 2, 0, None)
    return np.asarray(np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA) * (inside > 0))


@lru_cache(maxsize=6)
def projector(size: int, views: int) -> Projector:
    """The projector of this size; building its matrix takes about a second at 512, so it is kept."""
    return Projector(size, views)
