"""Deformable convolution in plain torch; no compiled operator, so it exports and runs wherever torch does.

Deviations: none. Offsets lie as in torchvision: (dy, dx) tap by tap, rows of taps first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def deform_conv2d(
    images: Tensor,
    offsets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Convolution whose every tap reads a place of its own, bilinearly; zeros outside the image.

    images: (N, C, H, W); offsets: (N, 2 * kh * kw, h, w) in pixels of `images`; weight: (O, C, kh, kw);
    bias: (O,) -> (N, O, h, w), h and w being conv2d's. With zero offsets it is conv2d. Raises ValueError
    when the shapes do not belong together.
    Source: Deformable Convolutional Networks (Dai et al. 2017), section 2.1, equations 2-4.
    """
    out, channels, rows, columns = weight.shape
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, {channels}, H, W)")
    count, _, height, width = images.shape
    high = (height + 2 * padding - dilation * (rows - 1) - 1) // stride + 1
    wide = (width + 2 * padding - dilation * (columns - 1) - 1) // stride + 1
    if offsets.shape != (count, 2 * rows * columns, high, wide):
        raise ValueError(
            f"offsets have shape {tuple(offsets.shape)}; expected {(count, 2 * rows * columns, high, wide)}"
        )
    # Half precision has too few digits for places.
    exact = torch.promote_types(torch.promote_types(images.dtype, offsets.dtype), torch.float32)
    down, right, i, j = (
        torch.arange(end, device=images.device, dtype=exact) for end in (rows, columns, high, wide)
    )
    tap_y = (down * dilation).repeat_interleave(columns).view(-1, 1, 1)
    tap_x = (right * dilation).repeat(rows).view(-1, 1, 1)
    y = (i * stride - padding).view(-1, 1) + tap_y + offsets[:, 0::2]  # (N, taps, h, w)
    x = j * stride - padding + tap_x + offsets[:, 1::2]
    # grid_sample cannot tell places apart on a side of one pixel; a row of zeros changes nothing.
    padded = nn.functional.pad(images.to(exact), (0, int(width == 1), 0, int(height == 1)))
    grid = torch.stack((2 * x / (padded.shape[3] - 1) - 1, 2 * y / (padded.shape[2] - 1) - 1), dim=-1)
    sampled = nn.functional.grid_sample(
        padded, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=True
    )  # (N, C, taps * h, w)
    patches = sampled.to(weight.dtype).reshape(count, channels * rows * columns, high * wide)
    found = (weight.reshape(out, -1) @ patches).view(count, out, high, wide)
    return found if bias is None else found + bias.view(-1, 1, 1)


class DeformConv2d(nn.Module):
    """`deform_conv2d` with a weight, set at the start as nn.Conv2d sets its own.

    (N, C, H, W) and offsets (N, 2 * size * size, h, w) -> (N, O, h, w).
    Source: MIQANet, section IV-C, deformable convolution on the CNN feature maps.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        like = nn.Conv2d(channels, out, size, bias=bias)
        self.weight, self.bias = like.weight, like.bias
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, images: Tensor, offsets: Tensor) -> Tensor:
        return deform_conv2d(
            images, offsets, self.weight, self.bias,
            stride=self.stride, padding=self.padding, dilation=self.dilation,
        )  # fmt: skip
