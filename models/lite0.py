"""Frozen EfficientNet-Lite0 as a feature extractor: mean and deviation of its stem and seven stages.

Tan & Le 2019 (EfficientNet), the "lite" variant without squeeze-excitation and with ReLU6. Weights are
ImageNet's and stay frozen, batch-norm statistics included; head and classifier are not carried.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from models.compat import import_timm

timm = import_timm()

from timm.layers.conv2d_same import Conv2dSame  # noqa: E402

FEATURES = 2 * (32 + 16 + 24 + 40 + 80 + 112 + 192 + 320)  #: a gray image gives this many
UNUSED = ("conv_head.", "bn2.", "classifier.")
LAST_CHANNELS = (112, 192, 320)  #: of stages 5 to 7, whose maps still tell where; strides 16, 32, 32
LAST_FEATURES = 2 * sum(LAST_CHANNELS)  #: the features of these stages, the last of an image's


class Lite0Features(nn.Module):
    """Images (N, 3, H, W) or gray (N, H, W), float32 in [0, 1], H and W >= 32 -> (N, 1632) features.

    A gray image is given to all three colour channels; values are scaled to [-1, 1] as in the training.
    The order is: mean of each channel of the stem, its deviation, then the same for stages 1 to 7.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
        missing, unexpected = net.load_state_dict(state, strict=False)
        if unexpected or any(not k.startswith(UNUSED) for k in missing):
            raise ValueError(f"{weights.name} is not a Lite0 backbone: {sorted(missing + unexpected)[:3]}")
        _fuse(net)
        self.stem = nn.Sequential(net.conv_stem, net.bn1)
        self.stages = nn.ModuleList(net.blocks)
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def forward(self, images: Tensor, last: list[tuple[Tensor, ...]] | None = None) -> Tensor:
        """last: is given the maps of the last stages, (N, C, h, w) of each of LAST_CHANNELS."""
        x = images * 2 - 1
        if x.ndim == 3:
            x = x.unsqueeze(1).expand(-1, 3, -1, -1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found, maps = [_pool(x)], []
        for stage in self.stages:
            x = stage(x)
            found.append(_pool(x))
            maps.append(x)
        if last is not None:
            last.append(tuple(maps[-len(LAST_CHANNELS) :]))
        return torch.cat(found, dim=1)


class _ConvAct(nn.Module):
    """A convolution with its batch norm folded in, then the norm's activation.

    timm pads TensorFlow's way in the convolution's forward; that is done here, at a third of the cost.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module) -> None:
        super().__init__()
        statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
        weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)  # type: ignore[arg-type]
        conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
        self.conv, self.act = conv, norm.act
        self.pads = isinstance(conv, Conv2dSame)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if self.pads:
            x = _padded(x, conv.kernel_size[0], conv.stride[0])
            x = F.conv2d(x, conv.weight, conv.bias, conv.stride, groups=conv.groups)
        else:
            x = conv(x)
        return self.act(x)  # type: ignore[operator, no-any-return]


def _padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around so that ceil(size / stride) remain, an odd one below and on the right.

    F.pad fills the whole of its result first.
    """
    rows, columns = x.shape[2:]
    down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (rows, columns))
    top, left = down // 2, across // 2
    shape = (*x.shape[:2], rows + down, columns + across)
    result = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    result[:, :, :top] = 0
    result[:, :, top + rows :] = 0
    inner = result[:, :, top : top + rows]
    inner[..., :left] = 0
    inner[..., left + columns :] = 0
    inner[..., left : left + columns] = x
    return result


def _fuse(module: nn.Module) -> None:
    """Fold every batch norm into the convolution before it: the same function, a third faster on a CPU."""
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, _ConvAct(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for child in module.children():
        if not isinstance(child, _ConvAct):
            _fuse(child)


def _pool(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C): spatial mean, then population deviation."""
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H * W, C), a view of channels last
    mean = pixels.mean(dim=1)
    # Two passes: torch.std_mean is one, and twenty times slower along this axis.
    deviation = (pixels - mean[:, None]).square_().mean(dim=1).sqrt()
    return torch.cat([mean, deviation], dim=1)
