"""What the patch-wise rows share: gray images, local normalisation, cutting into patches."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def gray(images: Tensor) -> Tensor:
    """Mean of the channels: (N, 3, H, W) -> (N, 1, H, W)."""
    return images.mean(dim=1, keepdim=True)


def check_size(images: Tensor, patch: int) -> None:
    """Raise ValueError unless the images are (N, 3, H, W) with at least one patch in them."""
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < patch:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (N, 3, H, W), H and W at least {patch}"
        )


def locally_normalised(x: Tensor, radius: int, constant: float) -> Tensor:
    """(x - mean) / (deviation + constant) in windows of 2 * radius + 1 pixels; (N, 1, H, W) -> the same.

    Source: Kang et al. 2014, section 3, local normalization.
    """
    padded = functional.pad(x, (radius,) * 4, mode="reflect")
    side = 2 * radius + 1
    mean = functional.avg_pool2d(padded, side, 1)
    square = functional.avg_pool2d(padded.square(), side, 1)
    spread = (square - mean.square()).clamp_min(1e-12).sqrt()  # not 0: its slope stays finite
    return (x - mean) / (spread + constant)


def cut(x: Tensor, side: int) -> tuple[Tensor, int, int]:
    """(N, C, H, W) -> patches (N * h * w, C, side, side) without overlap, and h and w.

    What is left at the right and bottom, less than a patch, is not looked at.
    """
    rows, columns = x.shape[2] // side, x.shape[3] // side
    x = x[:, :, : rows * side, : columns * side]
    x = x.reshape(*x.shape[:2], rows, side, columns, side)  # (N, C, h, side, w, side)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2), rows, columns


def put_back(values: Tensor, rows: int, columns: int) -> Tensor:
    """(N * h * w, 1) -> (N, h, w)."""
    return values[:, 0].reshape(-1, rows, columns)
