"""Where in the image a linear head on pooled features sees its score: class activation maps.

The head is linear in each channel's spatial mean m and deviation s, and both are means over the image, of x
and of (x - m)² / s: so every place has its own share of the score. Zhou et al. 2016 (class activation
mapping) for the mean; the deviation is this module's addition. Features that are no mean over the image have
no place and are left out, so a map tells where to look and not how much is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_DEVIATION = 1e-6


@torch.inference_mode()
def local_scores(maps: Sequence[Tensor], pooled: Tensor, slopes: Tensor) -> Tensor:
    """How far each place's share of the score lies above the image's mean share, (N, h, w), of mean 0.

    maps: (N, C, H, W) of each layer, the first the finest; h and w are its sides, coarser ones are spread.
    pooled: (N, 2ΣC), each layer's channel means, then its deviations. slopes: (N, 2ΣC), what the score
    changes with each of these.
    """
    size = maps[0].shape[2:]
    found, first = pooled.new_zeros((len(pooled), *size)), 0
    for layer in maps:
        count = layer.shape[1]
        means, deviations = pooled[:, first : first + 2 * count].chunk(2, dim=1)
        of_means, of_deviations = slopes[:, first : first + 2 * count].chunk(2, dim=1)
        centred = layer.permute(0, 2, 3, 1).flatten(1, 2) - means[:, None]  # (N, H * W, C)
        spread = of_deviations / deviations.clamp_min(_LEAST_DEVIATION)
        shares = centred @ of_means[..., None] + centred.square() @ spread[..., None]
        shares = shares.view(-1, 1, *layer.shape[2:])
        found += F.interpolate(shares, size=size, mode="area")[:, 0]
        first += 2 * count
    return found - found.mean(dim=(1, 2), keepdim=True)
