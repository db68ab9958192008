"""Five crops of an image larger than the network's input, and the mean score over them.

Deviations:
- The published code crops at random before it takes its five crops, which then coincide. `legacy=True` gives
  such five equal crops, all of the centre, so that the answer does not depend on chance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.output import Output


def five_crops(images: Tensor, side: int, *, legacy: bool = False) -> Tensor:
    """(N, C, H, W) -> (N, 5, C, side, side): top left, top right, bottom left, bottom right, centre.

    legacy: the centre five times. Raises ValueError when the images are smaller than the crops.
    """
    if images.ndim != 4 or min(images.shape[2:]) < side:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (N, C, {side} or more, {side} or more)"
        )
    low, right = images.shape[2] - side, images.shape[3] - side
    centre = (low // 2, right // 2)
    places = [centre] * 5 if legacy else [(0, 0), (0, right), (low, 0), (low, right), centre]
    return torch.stack([images[:, :, y : y + side, x : x + side] for y, x in places], dim=1)


def over_five_crops(
    network: Callable[[Tensor], Output], images: Tensor, side: int, *, legacy: bool = False
) -> Output:
    """Images (N, 3, H, W) -> Output: the mean score of five crops, and each crop's maps (N, 5, h, w).

    Source: MIQANet, published code, five-point test.
    """
    crops = five_crops(images, side, legacy=legacy)
    found = network(crops.flatten(0, 1))

    def apart(rows: Tensor) -> Tensor:
        return rows.reshape(len(images), 5, *rows.shape[1:])

    maps, weights = found.patch_scores, found.patch_weights
    return Output(
        score=apart(found.score).mean(dim=1),
        patch_scores=None if maps is None else apart(maps),
        patch_weights=None if weights is None else apart(weights),
    )
