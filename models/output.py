"""What a quality network answers, and what can be read from it.

A network takes float32 images in [0, 1] and returns an `Output`; fields that it does not have are None.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Output(NamedTuple):
    """One answer a row; N rows, a row being an image or a series."""

    score: Tensor  #: (N,) on the network's own scale, higher is better
    patch_scores: Tensor | None = None  #: (N, h, w) or (N, S, h, w): the quality map, on the score's scale
    patch_weights: Tensor | None = None  #: of the same shape, >= 0: how much each patch counts
    slice_weights: Tensor | None = None  #: (N, S), summing to 1: how much each slice counts
    slice_logits: Tensor | None = None  #: (N, S), whose softmax over a whole series are its slice weights
    logits: Tensor | None = None  #: (N, heads, grades): ordinal logits of each head


def distribution(logits: Tensor) -> Tensor:
    """Mean of the heads' softmaxes: (N, heads, grades) -> (N, grades), summing to 1."""
    return logits.softmax(dim=-1).mean(dim=1)


def entropy(probabilities: Tensor) -> Tensor:
    """Uncertainty of a distribution: (N, grades) -> (N,) in [0, 1], 1 for all grades alike."""
    nats: Tensor = torch.special.entr(probabilities).sum(dim=-1)
    return nats / math.log(probabilities.shape[-1])


def check_images(images: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless the images are finite float values in [0, 1] of this shape; None is any size.

    For the edges of the program: it waits for the device, so networks leave it to their callers.
    """
    wanted = " x ".join("any" if side is None else str(side) for side in shape)
    found = " x ".join(map(str, images.shape))
    sizes_fit = images.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, images.shape, strict=False)
    )
    if not sizes_fit:
        raise ValueError(f"images have shape {found}; expected {wanted}")
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; expected floating-point values in [0, 1]")
    if not torch.isfinite(images).all():
        raise ValueError("images contain NaN or infinity; expected values in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(f"images lie in [{low:.3g}, {high:.3g}]; expected [0, 1]")
