"""From slices to feature vectors: the one way that training and the shipped model share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.inputs import Pixels, channels
from models.lite0 import Lite0Features
from models.shading import shading_features
from models.spectral import PER_CHANNEL, shortfall, spectral_features

LITE0_CHANNELS = 2  #: CT's brain window is left to the spectral block: with it held-out figures fell
SHADED_CHANNELS = {"CT": 0, "MR": 1}  #: channels whose layout is looked at; CT's head gained nothing from it
QUIET_CHANNEL = {"CT": 1}  #: where to look for what is smoother than any reference: the wide window
#: Pixels computed at once. On a CPU the widest map of four images of 256x256 stays below 32 MiB, from where
#: on the allocator returns memory to the system after each use, and every new page costs a fault.
BATCH_PIXELS = {"cpu": 4 * 256**2, "cuda": 64 * 256**2}


class FeatureExtractor:
    """Lite0, spectral and layout features of working pixels.

    weights: the backbone's safetensors file. device: "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self._lite0 = Lite0Features(weights).to(self.device)

    def __call__(
        self, working: Sequence[Pixels], modality: str, last: list[tuple[Tensor, ...]] | None = None
    ) -> Tensor:
        """(N, F) float32 features of N slices of one shape and modality, as `working_pixels` gives them.

        The order is Lite0 of the first LITE0_CHANNELS channels, the spectral block of every channel, then the
        layout of the first SHADED_CHANNELS, or the shortfall of QUIET_CHANNEL. New blocks come last: older
        heads look at the first F only. last: is given the maps of Lite0's last stages, batch by batch.
        """
        stack = np.stack([channels(work, modality) for work in working])
        planes = torch.from_numpy(stack).to(self.device)  # (N, C, H, W)
        spectral = self.spectral(planes)
        found = [self.lite0(planes[:, :LITE0_CHANNELS], last), spectral]
        found.append(self.layout(planes[:, : SHADED_CHANNELS[modality]]))
        if modality in QUIET_CHANNEL:
            first = PER_CHANNEL * QUIET_CHANNEL[modality]
            found.append(shortfall(spectral[:, first : first + PER_CHANNEL]))
        return torch.cat(found, dim=1)

    def lite0(self, planes: Tensor, last: list[tuple[Tensor, ...]] | None = None) -> Tensor:
        flat = planes.flatten(0, 1)
        found = torch.cat([self._lite0(part, last) for part in _batches(flat)])
        return found.view(planes.shape[0], -1)

    @staticmethod
    def spectral(planes: Tensor) -> Tensor:
        return _of_channels(spectral_features, planes)

    @staticmethod
    def layout(planes: Tensor) -> Tensor:
        return _of_channels(shading_features, planes)


@torch.inference_mode()
def _of_channels(function: Callable[[Tensor], Tensor], planes: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C * features of a channel); (N, 0) of no channels."""
    count = planes.shape[0]
    if not planes.shape[1]:
        return planes.new_zeros((count, 0))
    return torch.cat([function(part) for part in _batches(planes.flatten(0, 1))]).view(count, -1)


def _batches(images: Tensor) -> Sequence[Tensor]:
    rows, columns = images.shape[1:]
    return torch.split(images, max(1, BATCH_PIXELS[images.device.type] // (rows * columns)))
