"""From one slice's pixels to what a network of fixed input size takes.

Resizing costs quality information (sharpness, noise); the papers do it all the same, so their networks get
it. The default model never resizes (`models.inputs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.inputs import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a network sees a slice. Raises ValueError for an empty window or percentiles out of order."""

    side: int  #: pixels a side after resizing (bilinear, antialiased)
    ct_window_hu: tuple[float, float] = (-160.0, 240.0)  #: mapped to [0, 1] and cut
    #: Three windows, one a colour channel, in the place of ct_window_hu, which then counts for nothing.
    ct_channels_hu: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None = None
    mr_percentiles: tuple[float, float] = (0.0, 100.0)  #: the same; 0 and 100 are minimum and maximum

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side {self.side} is not a number of pixels")
        for name, windows in (("ct_window_hu", [self.ct_window_hu]), ("ct_channels_hu", self.ct_channels_hu)):
            for low, high in windows or ():
                if low >= high:
                    raise ValueError(f"{name} {getattr(self, name)} is empty")
        first, last = self.mr_percentiles
        if not 0 <= first < last <= 100:
            raise ValueError(f"mr_percentiles {self.mr_percentiles} do not rise within 0 to 100")

    def __call__(self, pixels: Pixels, modality: str) -> Tensor:
        """(rows, columns) in HU (CT) or any unit (others) -> (3, side, side) float32 in [0, 1].

        A constant image gives zeros.
        """
        windows = self._windows(pixels, modality)
        planes = [_unit(pixels, low, high) for low, high in windows]
        image = torch.from_numpy(np.stack(planes))[None]  # (1, 1 or 3, rows, columns)
        if image.shape[2:] != (self.side, self.side):
            image = torch.nn.functional.interpolate(
                image, size=(self.side, self.side), mode="bilinear", antialias=True, align_corners=False
            ).clamp(0, 1)
        return image[0].expand(3, -1, -1).contiguous()

    def _windows(self, pixels: Pixels, modality: str) -> tuple[tuple[float, float], ...]:
        if modality == "CT":
            return self.ct_channels_hu or (self.ct_window_hu,)
        low, high = (float(value) for value in np.percentile(pixels, self.mr_percentiles))
        return ((low, high),)


def _unit(pixels: Pixels, low: float, high: float) -> Pixels:
    spread = high - low
    if spread <= 1e-6 * max(abs(high), abs(low), 1e-30):
        return np.zeros(pixels.shape, np.float32)
    unit = np.clip((np.asarray(pixels, dtype=np.float32) - low) / spread, 0, 1)
    return np.ascontiguousarray(unit, dtype=np.float32)
